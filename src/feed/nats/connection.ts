/** One connection to NATS. It never reconnects by itself: whoever uses it starts anew, from what the stream has then. */
import { connect, type NatsConnection } from '@nats-io/transport-node';

const PING_INTERVAL_MS = 5_000;

/** Servers of one cluster as `nats://` or `tls://` URLs; a user and password, or a token, may stand in the first. */
export async function connectTo(urls: readonly string[], connectMaxMs: number): Promise<NatsConnection> {
  const servers = urls.map((url) => new URL(url));
  const { username, password, protocol } = servers[0]!;
  const [user, pass] = [decodeURIComponent(username), decodeURIComponent(password)];
  return await connect({
    servers: servers.map(({ host }) => host),
    name: 'paystate feed',
    timeout: connectMaxMs,
    reconnect: false,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: 2,
    ...(protocol === 'tls:' ? { tls: {} } : {}),
    ...(user === '' ? {} : pass === '' ? { token: user } : { user, pass }),
  });
}

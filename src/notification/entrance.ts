/** The HTTP entrance for notifications: POST /notifications/<platform>/<merchant account>, answered only after storing. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Deps } from '../payment/deps.js';
import { PLATFORMS, type HttpReply, type PlatformAdapter } from '../payment/platform.js';
import type { Logger } from '../logger.js';
import { Quarantine } from './quarantine.js';
import { receiveNotification } from './receive-notification.js';

const BODY_MAX_BYTES = 64 * 1024;
const REQUEST_TIMEOUT_MS = 5_000;
/** How often slow senders are looked for; by default they would have half a minute more. */
const SLOWNESS_CHECK_MS = 1_000;

export interface NotificationEntrance extends AsyncDisposable {
  readonly port: number;
  /** Since the start: what was refused, and how much of it was written down. */
  health(): { readonly refused: bigint; readonly quarantined: bigint };
}

/** `ready` gives null until the application can store what comes in. */
export async function openNotificationEntrance(
  ready: () => Deps | null,
  options: { host: string; port: number; log: Logger },
): Promise<NotificationEntrance> {
  const quarantine = new Quarantine();
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: SLOWNESS_CHECK_MS }, (request, response) => {
    const deps = ready();
    if (deps === null) return send(response, plain(503, 'starting'));
    handle(deps, quarantine, request)
      .catch((error: unknown): HttpReply => {
        // Anybody can go away in the middle; only what came whole and was not stored is our affair.
        options.log[request.complete ? 'error' : 'debug']({ err: error, path: request.url?.slice(0, 200) }, 'notification not stored');
        return adapterOf(deps, request)?.replies.failed ?? plain(500, 'failed');
      })
      .then((reply) => send(response, reply))
      .catch((error: unknown) => options.log.error({ err: error }, 'notification reply not sent'));
  });
  await listen(server, options);

  return {
    port: (server.address() as AddressInfo).port,
    health: () => ({ refused: BigInt(quarantine.refused), quarantined: BigInt(quarantine.kept) }),
    async [Symbol.asyncDispose]() {
      // A server that closes no longer times out who is slow, and one that has not asked anything yet is not idle to it.
      const cut = setTimeout(() => server.closeAllConnections(), REQUEST_TIMEOUT_MS);
      await new Promise<void>((resolve) => server.close(() => resolve()));
      clearTimeout(cut);
    },
  };
}

/** Where a merchant account's notifications are to be sent, below the entrance's public base URL. */
export function notificationPath(platform: string, merchantAccount: string): string {
  return `/notifications/${platform.toLowerCase()}/${encodeURIComponent(merchantAccount)}`;
}

async function handle(deps: Deps, quarantine: Quarantine, request: IncomingMessage): Promise<HttpReply> {
  const adapter = adapterOf(deps, request);
  if (adapter === undefined) return plain(404, 'no such entrance');
  if (request.method !== 'POST') return plain(405, 'POST only');
  if (request.headers['content-encoding'] !== undefined) return plain(415, 'no content-encoding');

  const body = await readBody(request);
  if (body === null) return plain(413, `at most ${BODY_MAX_BYTES} bytes`);
  const headers = Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  );
  return await receiveNotification(deps, quarantine, adapter, { headers, body, receivedAt: deps.clock.now() });
}

function adapterOf(deps: Deps, request: IncomingMessage): PlatformAdapter | undefined {
  const path = (request.url ?? '').split('?')[0]!;
  const [, platformSegment, account] = /^\/notifications\/([a-z]+)\/([^/]{1,200})$/.exec(path) ?? [];
  const platform = PLATFORMS.find((name) => name.toLowerCase() === platformSegment);
  if (platform === undefined || account === undefined) return undefined;
  try {
    return deps.platforms.find(platform, decodeURIComponent(account));
  } catch {
    return undefined; // Not decodable, so nobody's account.
  }
}

/** Null for more than is taken; rejects when the sender goes away in the middle. */
function readBody(request: IncomingMessage): Promise<Buffer | null> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > BODY_MAX_BYTES) {
        request.pause();
        resolve(null);
      } else chunks.push(chunk);
    });
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    request.on('error', reject);
    request.on('close', () => reject(new Error('the sender went away')));
  });
}

function send(response: ServerResponse, reply: HttpReply): void {
  // A refused body may not be read to its end; the connection is of no further use then.
  const close = reply.status === 413 ? { connection: 'close' } : {};
  response.writeHead(reply.status, { 'content-type': reply.contentType, 'content-length': Buffer.byteLength(reply.body), ...close });
  // As text it leaves in one piece with the head.
  response.end(reply.body, 'utf8');
}

const plain = (status: number, body: string): HttpReply => ({ status, contentType: 'text/plain; charset=utf-8', body });

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

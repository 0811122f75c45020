/** How calls travel, as gRPC's own settings: retries, balancing, keepalive, limits. Published, so that other clients can use the same. */
import type { ChannelOptions, ServiceConfig } from '@grpc/grpc-js';

const PAYMENTS = 'payment.v1.PaymentService';
const OPERATIONS = 'payment.v1.OperationsService';

/**
 * Every method of the contract is free of effects or idempotent by its request_id, so all of them may be sent again when the server
 * was UNAVAILABLE; nothing else is repeated by gRPC. A pushback of the server is honoured. A watch resumes by itself, with its
 * cursor, which a blind repetition would not have.
 */
export const SERVICE_CONFIG: ServiceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    { name: [{ service: PAYMENTS, method: 'WatchPayments' }] },
    {
      name: [{ service: PAYMENTS }, { service: OPERATIONS }],
      retryPolicy: {
        // The library takes no more.
        maxAttempts: 5,
        initialBackoff: '0.1s',
        maxBackoff: '2s',
        backoffMultiplier: 2,
        retryableStatusCodes: ['UNAVAILABLE'],
      },
    },
  ],
  // Where more than a third of the calls fail for long, repeating ends, so that a service that comes back is not run over; a lost
  // connection with hundreds of calls on it is not yet that.
  retryThrottling: { maxTokens: 1_000, tokenRatio: 0.5 },
};

export const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
  // The settings above, not those of a TXT record.
  'grpc.service_config_disable_resolution': 1,
  // Some servers and proxies refuse more frequent pings than every 30 seconds.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 5_000,
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
  // A replaced channel must not get the old one's connections back; see GrpcTransport.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
};

/**
 * What gRPC dials: a name is looked up by DNS and all its addresses are used in turn, a list of IPv4 addresses is used as it is,
 * and anything with a scheme is left alone.
 */
export function targetOf(address: string | readonly string[]): string {
  if (typeof address !== 'string') return `ipv4:${address.join(',')}`;
  return /^[a-z][a-z0-9+-]*:(\/|[^0-9])/.test(address) || address.startsWith('ipv4:') ? address : `dns:///${address}`;
}

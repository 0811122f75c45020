/** A small HTTP server for those who run the service: GET /metrics, /healthz (it lives) and /readyz (it serves). */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../logger.js';
import type { Metrics, MetricSources } from './metrics.js';

export interface AdminServer extends AsyncDisposable {
  readonly port: number;
}

export interface AdminSources extends MetricSources {
  readonly isServing: () => boolean;
}

export async function startAdminServer(sources: AdminSources, options: { host: string; port: number; log: Logger }): Promise<AdminServer> {
  let metrics: Promise<Metrics> | null = null;
  // Loaded by the first scrape: nobody waits for it at the start.
  const loadMetrics = async (): Promise<Metrics> => new (await import('./metrics.js')).Metrics(sources);

  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'GET only\n');
    if (path === '/healthz') return send(response, 200, 'alive\n');
    if (path === '/readyz') return sources.isServing() ? send(response, 200, 'serving\n') : send(response, 503, 'not serving\n');
    if (path !== '/metrics') return send(response, 404, '/metrics, /healthz or /readyz\n');
    metrics ??= loadMetrics();
    metrics
      .then(async (loaded) => send(response, 200, await loaded.scrape(), loaded.contentType))
      .catch((error: unknown) => {
        options.log.error({ err: error }, 'metrics could not be told');
        send(response, 500, 'failed\n');
      });
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(options.port, options.host, () => resolve()));

  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // One that has not asked anything yet does not count as idle, and would be waited for without end.
      server.closeAllConnections();
      await closed;
    },
  };
}

function send(response: ServerResponse, status: number, body: string, contentType = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }).end(body);
}

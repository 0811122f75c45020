import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Exchange {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** What to answer; null cuts the connection without a word. */
export type Reply = { readonly status: number; readonly type: string; readonly body: string | Buffer } | null;

const BODY_MAX_BYTES = 256 * 1024;

export interface HttpServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function serveHttp(address: { host: string; port: number }, answer: (exchange: Exchange) => Reply): Promise<HttpServer> {
  const server: Server = createServer((request, response) => {
    readBody(request)
      .then((body) =>
        answer({ method: request.method ?? 'GET', url: new URL(request.url ?? '/', 'http://simulator'), headers: request.headers, body }),
      )
      .catch((error: unknown): Reply => ({ status: 400, type: 'text/plain', body: error instanceof Error ? error.message : String(error) }))
      .then((reply) => {
        if (reply === null) return void response.destroy();
        response.writeHead(reply.status, { 'content-type': reply.type, 'content-length': Buffer.byteLength(reply.body) });
        response.end(reply.body);
      })
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address.port, address.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_MAX_BYTES) throw new Error('the body is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

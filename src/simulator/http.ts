import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  /** As sent, without the question mark. */
  readonly query: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export type HttpReply = (
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly contentType: string;
      readonly body: Buffer;
      readonly headers?: Readonly<Record<string, string | readonly string[]>>;
      /** Sends the body in pieces with pauses. */
      readonly trickle?: { readonly pieceBytes: number; readonly gapMs: number };
    }
  /** Ends the connection without a word; `reset` with a TCP RST. */
  | { readonly kind: 'drop' }
  | { readonly kind: 'reset' }
) & {
  /** Runs once the reply has left, or has failed to. */
  readonly afterwards?: () => void;
};

export interface HttpServer {
  readonly port: number;
  close(): Promise<void>;
}

const BODY_MAX_BYTES = 256 * 1024;

export async function serveHttp(
  address: { readonly host: string; readonly port: number },
  answer: (request: HttpRequest) => HttpReply | Promise<HttpReply>,
): Promise<HttpServer> {
  const server = createServer((request, response) => {
    void respond(request, response, answer).catch(() => response.destroy());
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

export function text(status: number, contentType: string, body: string): HttpReply {
  return { kind: 'answer', status, contentType, body: Buffer.from(body, 'utf8') };
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (request: HttpRequest) => HttpReply | Promise<HttpReply>,
): Promise<void> {
  const body = await readBody(request);
  if (body === null) return send(response, text(413, 'text/plain', 'the body is too large\n'));

  const [path = '/', ...query] = (request.url ?? '/').split('?');
  const { method = 'GET', headers } = request;
  const reply = await answer({ method, path, query: query.join('?'), headers, body });
  try {
    await send(response, reply);
  } finally {
    reply.afterwards?.();
  }
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size <= BODY_MAX_BYTES) pieces.push(piece);
  }
  return size > BODY_MAX_BYTES ? null : Buffer.concat(pieces);
}

async function send(response: ServerResponse, reply: HttpReply): Promise<void> {
  // The caller has gone away meanwhile: nothing would ever be said to have been sent.
  if (response.destroyed) return;
  if (reply.kind === 'drop') return void response.destroy();
  if (reply.kind === 'reset') return void response.socket?.resetAndDestroy();

  const { status, contentType, body, headers, trickle } = reply;
  const described = status === 204 ? {} : { 'content-type': contentType, 'content-length': body.length };
  response.writeHead(status, { ...described, ...headers });
  for (let at = 0; trickle !== undefined && at < body.length && !response.destroyed; at += trickle.pieceBytes) {
    response.write(body.subarray(at, at + trickle.pieceBytes));
    await wait(trickle.gapMs);
  }
  await new Promise<void>((resolve) => {
    response.once('close', resolve);
    response.end(trickle === undefined ? body : undefined, resolve);
  });
}

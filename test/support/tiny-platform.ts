import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export type Told = { readonly status?: number; readonly headers?: Record<string, string | string[]>; readonly body?: string | Buffer } | 'cut';

export interface TinyPlatform extends AsyncDisposable {
  readonly url: string;
  readonly asked: readonly Asked[];
  /** What it answers next, and until it is told otherwise. */
  answer: (asked: Asked) => Told;
}

/** An HTTP server that answers as a test tells it to. */
export async function startTinyPlatform(): Promise<TinyPlatform> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const one = { method: request.method!, path: request.url!, headers: request.headers, body: Buffer.concat(pieces).toString('utf8') };
      asked.push(one);
      const told = platform.answer(one);
      if (told === 'cut') return void request.socket.destroy();
      response.writeHead(told.status ?? 200, told.headers ?? {});
      response.end(told.body ?? '');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const platform: TinyPlatform = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answer: () => ({ status: 404 }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return platform;
}

/** Where nobody listens. */
export async function nobody(): Promise<string> {
  const gone = await startTinyPlatform();
  await gone[Symbol.asyncDispose]();
  return gone.url;
}

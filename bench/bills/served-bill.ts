/** A bill on disk behind the addresses of its platform. */
import { createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Totals } from './movements.js';

export interface ServedBill extends AsyncDisposable {
  /** The merchant account that the bill is of, as it is configured. */
  readonly account: object;
  readonly totals: Totals;
}

export interface Reply {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: Buffer | { readonly file: string };
}

export interface Server extends AsyncDisposable {
  readonly origin: string;
}

export async function serve(answer: (path: string, origin: string) => Reply): Promise<Server> {
  const server = createServer((request, response) => {
    void respond(request, response, (path) => answer(path, origin())).catch(() => response.destroy());
  });
  const origin = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    origin: origin(),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function respond(request: IncomingMessage, response: ServerResponse, answer: (path: string) => Reply): Promise<void> {
  // What is asked is not looked at: only the adapter is measured here.
  for await (const _piece of request);
  const { headers = {}, body } = answer(request.url ?? '/');
  response.writeHead(200, headers);
  if (Buffer.isBuffer(body)) response.end(body);
  else await pipeline(createReadStream(body.file), response);
}

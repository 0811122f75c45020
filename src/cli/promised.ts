import * as grpc from '@grpc/grpc-js';

type Callback<Response> = (error: grpc.ServiceError | null, response: Response) => void;
type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: grpc.Metadata,
  options: Partial<grpc.CallOptions>,
  callback: Callback<Response>,
) => grpc.ClientUnaryCall;

/** The unary methods of a generated client, as functions that return promises. */
export type Promised<Client> = {
  [Method in keyof Client as AsPromise<Client[Method]> extends never ? never : Method]: AsPromise<Client[Method]>;
};

type AsPromise<Method> = Method extends UnaryMethod<infer Request, infer Response> ? (request: Request) => Promise<Response> : never;

/** Every call gets the deadline; what it fails with is passed through `failure`. */
export function promised<Client extends grpc.Client>(
  client: Client,
  options: { deadlineMs: number; failure?: (error: grpc.ServiceError) => Error },
): Promised<Client> {
  const failure = options.failure ?? ((error) => error);
  return new Proxy(client, {
    get:
      (target, name) =>
      (request: unknown): Promise<unknown> =>
        new Promise((resolve, reject) => {
          const method = target[name as keyof Client] as UnaryMethod<unknown, unknown>;
          const deadline = Date.now() + options.deadlineMs;
          method.call(target, request, new grpc.Metadata(), { deadline }, (error, response) =>
            error === null ? resolve(response) : reject(failure(error)),
          );
        }),
  }) as unknown as Promised<Client>;
}

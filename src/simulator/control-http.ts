/** The control of a simulated platform as JSON over HTTP: acts by POST, views by GET. What cannot be done answers 409. */
import { Arguments } from './control-arguments.js';
import { ControlError } from './control-error.js';
import { text, type HttpReply, type HttpRequest } from './http.js';

export interface ControlRoutes<Control> {
  /** The first segment of every path. */
  readonly place: string;
  readonly acts: Readonly<Record<string, (control: Control, given: Arguments) => unknown>>;
  /** `name` is the path's third segment, empty where there is none. */
  readonly views: Readonly<Record<string, (control: Control, name: string) => unknown>>;
}

export async function answerControl<Control>(routes: ControlRoutes<Control>, control: Control, request: HttpRequest): Promise<HttpReply> {
  const { place, acts, views } = routes;
  const { method, path, body } = request;
  const [, first, ...rest] = path.split('/');
  const act = rest.join('/');
  const [view = '', name = ''] = rest;
  try {
    if (first === place && method === 'POST' && Object.hasOwn(acts, act)) {
      return json(200, (await acts[act]?.(control, Arguments.parse(body.toString('utf8')))) ?? {});
    }
    if (first === place && method === 'GET' && rest.length <= 2 && Object.hasOwn(views, view)) {
      return json(200, await views[view]?.(control, name));
    }
    return json(404, { error: `there is no ${method} ${path}`, acts: Object.keys(acts), views: Object.keys(views) });
  } catch (error) {
    if (error instanceof ControlError) return json(409, { error: error.message });
    throw error;
  }
}

function json(status: number, value: unknown): HttpReply {
  const body = JSON.stringify(value, (_name, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner), 2);
  return text(status, 'application/json; charset=utf-8', `${body}\n`);
}

/** What the end of a connection says about the call that was on it. */
import { exchange, transportFailure } from '../../src/platform/http.js';
import { startTinyPlatform } from '../support/tiny-platform.js';

const failed = (code: string, syscall?: string): TypeError => new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code, ...(syscall === undefined ? {} : { syscall }) }) });

test.each<[string, string | undefined, string]>([
  ['ECONNREFUSED', 'connect', 'UNREACHABLE'],
  ['ENOTFOUND', 'getaddrinfo', 'UNREACHABLE'],
  ['EAI_AGAIN', 'getaddrinfo', 'UNREACHABLE'],
  ['EHOSTUNREACH', 'connect', 'UNREACHABLE'],
  ['ENETUNREACH', 'connect', 'UNREACHABLE'],
  ['UND_ERR_CONNECT_TIMEOUT', undefined, 'UNREACHABLE'],
  // The route was lost under a connection that had taken the call.
  ['EHOSTUNREACH', 'read', 'UNKNOWN'],
  ['ENETUNREACH', 'write', 'UNKNOWN'],
  ['ECONNRESET', 'read', 'UNKNOWN'],
  ['UND_ERR_SOCKET', undefined, 'UNKNOWN'],
  ['UND_ERR_HEADERS_TIMEOUT', undefined, 'UNKNOWN'],
  ['CERT_HAS_EXPIRED', undefined, 'UNKNOWN'],
])('%s during %s: %s', (code, syscall, kind) => {
  expect(transportFailure(failed(code, syscall))).toMatchObject({ kind, code });
});

test.each([301, 302, 307, 308, 421, 503])('HTTP %d is answered once, and no POST is sent a second time', async (status) => {
  await using platform = await startTinyPlatform();
  platform.answer = () => ({ status, headers: { location: `${platform.url}/elsewhere`, 'retry-after': '0' } });
  const answer = await exchange({ method: 'POST', url: `${platform.url}/pay`, headers: {}, body: 'a=1' }, { at: new Date(), signal: AbortSignal.timeout(5_000) });
  expect(answer).toMatchObject(status === 503 ? { kind: 'ANSWER', status } : { kind: 'UNKNOWN' });
  expect(platform.asked.map(({ path }) => path)).toEqual(['/pay']);
});

test('an answer that does not end is not held', async () => {
  await using platform = await startTinyPlatform();
  platform.answer = () => ({ body: Buffer.alloc(2 * 1024 * 1024) });
  const call = { at: new Date(), signal: AbortSignal.timeout(5_000) };
  expect(await exchange({ method: 'GET', url: platform.url, headers: {} }, call)).toMatchObject({ kind: 'UNKNOWN' });
});

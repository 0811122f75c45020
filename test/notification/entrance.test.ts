/** The entrance as strangers meet it: slow, pipelined, endless and impolite senders. */
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { WechatNotifications } from '../../bench/wechat-notifications.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';

const wechat = new WechatNotifications();
let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ config: { platforms: accountsOf({ wechatpay: [wechat.account] }) }, manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const PATH = '/notifications/wechatpay/wechatpay';
const head = (length: number, more = '', method = 'POST', path = PATH): string => `${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n${more}\r\n`;

/** What comes back on one connection until the other side ends it. */
async function spoken(say: (socket: Socket) => void): Promise<string> {
  const socket = connect(service.app.notificationPort, '127.0.0.1');
  let heard = '';
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  say(socket);
  await once(socket, 'close');
  return heard;
}
const statusesOf = (heard: string): string[] => [...heard.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status!);

test('what does not end holds its connection for seconds only: a head, a body, a body nobody wants', async () => {
  const began = performance.now();
  await Promise.all(
    ['POST /notifications/wechatpay/wechatpay HTTP/1.1\r\nHost: x\r\n', `${head(100)}{"a`, `${head(100, '', 'PUT')}{"a`].map((begun) =>
      spoken((socket) => void socket.write(begun)),
    ),
  );
  expect(performance.now() - began).toBeLessThan(12_000);
});

test('requests that come in one piece are answered one by one, in their order', async () => {
  const { headers, body } = wechat.paid('N1');
  const signature = Object.entries(headers).filter(([name]) => name !== 'content-type').map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const genuine = head(Buffer.byteLength(body), signature) + body;
  const heard = await spoken((socket) => void socket.write(genuine + head(2) + '{}' + genuine + head(2, '', 'PUT') + '{}' + head(0, 'Connection: close\r\n', 'POST', '/elsewhere')));
  expect(statusesOf(heard)).toEqual(['200', '401', '200', '405', '404']);
});

test.each<[string, string, string[]]>([
  ['more than 64 KiB, said before', head(70_000) + 'x'.repeat(70_000), ['413']],
  ['more than 64 KiB, in pieces', `POST ${PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n${'x'.repeat(70_000)}\r\n0\r\n\r\n`, ['413']],
  ['two lengths', `POST ${PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, ['400']],
  ['a length and pieces', `POST ${PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`, ['400']],
])('%s: refused, and the connection ended', async (_what, text, statuses) => {
  expect(statusesOf(await spoken((socket) => void socket.write(text)))).toEqual(statuses);
});

test('a connection that says nothing does not keep the service from ending for longer than a slow sender would', async () => {
  const ending = await startTestApp({ manualSync: true });
  const silent = connect(ending.app.notificationPort, '127.0.0.1').on('error', () => undefined);
  await once(silent, 'connect');
  await fetch(`http://127.0.0.1:${ending.app.notificationPort}/`);
  await ending[Symbol.asyncDispose]();
  silent.destroy();
});

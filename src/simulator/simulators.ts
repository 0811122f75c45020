/**
 * All simulated platforms at once, with one control over HTTP, and the configuration by which the service takes them for the real ones:
 * nothing but that configuration tells them apart.
 */
import { join } from 'node:path';
import { alipayAccount, unionPayAccount, wechatPayAccount } from './accounts.js';
import { startAlipaySimulator, type AlipaySimulator } from './alipay/server.js';
import { serveHttp, text, type HttpReply, type HttpRequest } from './http.js';
import { startUnionPaySimulator, type UnionPaySimulator } from './unionpay/server.js';
import { startWechatPaySimulator, type WechatPaySimulator } from './wechatpay/server.js';

export interface SimulatorsOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Of the control; the platforms follow on the next three. Default 0: any free ones. */
  readonly port?: number;
  /** Keeps keys and orders across restarts. */
  readonly stateFolder?: string;
  readonly now?: () => Date;
}

export interface Simulators extends AsyncDisposable {
  readonly controlUrl: string;
  readonly alipay: AlipaySimulator;
  readonly wechatpay: WechatPaySimulator;
  readonly unionpay: UnionPaySimulator;
  /** Where each platform is spoken to, by its name. */
  readonly addresses: Readonly<Record<string, string>>;
  /** For PAYSTATE_PLATFORMS. */
  readonly platforms: Readonly<Record<'alipay' | 'wechatpay' | 'unionpay', readonly object[]>>;
}

export async function startSimulators(options: SimulatorsOptions = {}): Promise<Simulators> {
  const { host = '127.0.0.1', port = 0, now, stateFolder } = options;
  const optionsOf = (platform: string, at: number) => ({
    host,
    port: port === 0 ? 0 : port + at,
    ...(now === undefined ? {} : { now }),
    ...(stateFolder === undefined ? {} : { stateFile: join(stateFolder, `simulator-${platform}.json`) }),
  });

  const started: AsyncDisposable[] = [];
  const stop = async (): Promise<void> => {
    for (const part of started.splice(0).reverse()) await part[Symbol.asyncDispose]();
  };
  const keep = <T extends AsyncDisposable>(part: T): T => {
    started.push(part);
    return part;
  };
  try {
    // A person who tries two refunds should not have to wait for the platforms' pause between them, up to a minute.
    const withoutPause = { refundSpacingMs: 0 };
    // The platform's own answers may come in either order of members.
    const alipay = keep(await startAlipaySimulator({ ...optionsOf('alipay', 1), ...withoutPause, signFirstEvery: 5 }));
    const wechatpay = keep(await startWechatPaySimulator({ ...optionsOf('wechatpay', 2), ...withoutPause }));
    const unionpay = keep(await startUnionPaySimulator(optionsOf('unionpay', 3)));
    const control = await serveHttp({ host, port }, (request) => answerControl({ alipay, wechatpay, unionpay }, request));
    keep({ [Symbol.asyncDispose]: () => control.close() });
    return {
      controlUrl: `http://${host}:${control.port}`,
      alipay,
      wechatpay,
      unionpay,
      addresses: { alipay: alipay.gatewayUrl, wechatpay: wechatpay.baseUrl, unionpay: unionpay.gatewayUrl },
      platforms: { alipay: [alipayAccount(alipay)], wechatpay: [wechatPayAccount(wechatpay)], unionpay: [unionPayAccount(unionpay)] },
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Each platform's acts and views begin with its name. */
async function answerControl(simulators: Pick<Simulators, 'alipay' | 'wechatpay' | 'unionpay'>, request: HttpRequest): Promise<HttpReply> {
  const [, place = ''] = request.path.split('/');
  if (place === 'alipay' || place === 'wechatpay' || place === 'unionpay') return await simulators[place].answerControl(request);
  return text(404, 'text/plain', 'acts and views begin with /alipay, /wechatpay or /unionpay\n');
}

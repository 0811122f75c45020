/** The registry of platforms: the one place beside their folders that names them, and what reads their accounts from a configuration. */
import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import type { PlatformAdapter, PlatformName } from '../payment/platform.js';
import { createAlipayAdapter } from './alipay/adapter.js';
import { alipaySettings } from './alipay/settings.js';
import { DEFAULT_LIMITS, type Limits } from './limits.js';
import { pemsOf } from './certificates.js';
import { privateKeyOf, publicKeyOf } from './rsa.js';
import { createUnionPayAdapter } from './unionpay/adapter.js';
import { unionPaySettings } from './unionpay/settings.js';
import { createWechatPayAdapter } from './wechatpay/adapter.js';
import { wechatPaySettings } from './wechatpay/settings.js';

const KINDS = {
  alipay: kind('ALIPAY', alipaySettings, createAlipayAdapter),
  wechatpay: kind('WECHATPAY', wechatPaySettings, createWechatPayAdapter),
  unionpay: kind('UNIONPAY', unionPaySettings, createUnionPayAdapter),
};

/** One merchant account at one platform, ready to be spoken to. */
export interface Account {
  readonly platform: PlatformName;
  readonly account: string;
  /** Whose payments go to it unless they name another; empty: every application's. */
  readonly apps: readonly string[];
  readonly limits: Limits;
  /** Where it leads, and the keys it trusts or signs with: what a production guard looks at. */
  readonly urls: readonly string[];
  readonly keys: readonly KeyObject[];
  readonly connect: (notificationUrl: string) => PlatformAdapter;
}

const common = z.looseObject({
  account: z.string().regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores'),
  apps: z.array(z.string().min(1).max(64)).default([]),
  calls_at_a_time: z.int().min(1).max(1_000).default(DEFAULT_LIMITS.concurrency),
  calls_per_second: z.int().min(1).max(100_000).default(DEFAULT_LIMITS.perSecond),
});

/**
 * The accounts of a configuration: `{"alipay": [{…}], "wechatpay": [{…}], "unionpay": [{…}]}`. Every fault is named by its place.
 * `readFile` answers the text for members that end in `_file`.
 */
export function readAccounts(json: unknown, readFile: (path: string) => string): { readonly accounts: readonly Account[]; readonly faults: readonly string[] } {
  const faults: string[] = [];
  const accounts: Account[] = [];
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return { accounts, faults: ['must be an object of platforms'] };

  for (const [name, entries] of Object.entries(json as Record<string, unknown>)) {
    if (!Object.hasOwn(KINDS, name)) faults.push(`${name}: is not one of ${Object.keys(KINDS).join(', ')}`);
    else if (!Array.isArray(entries)) faults.push(`${name}: must be a list of accounts`);
    else {
      for (const [at, entry] of (entries as unknown[]).entries()) {
        const read = readAccount(name as keyof typeof KINDS, entry, readFile, (fault) => faults.push(`${name}[${at}]${fault}`));
        if (read !== null) accounts.push(read);
      }
    }
  }
  const names = accounts.map(({ platform, account }) => `${platform.toLowerCase()} account ${account}`);
  for (const name of new Set(names.filter((one, at) => names.indexOf(one) !== at))) faults.push(`${name}: is configured twice`);
  return { accounts, faults };
}

function readAccount(name: keyof typeof KINDS, entry: unknown, readFile: (path: string) => string, fault: (sentence: string) => void): Account | null {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    fault(': must be an object');
    return null;
  }
  const given = withFiles(entry as Record<string, unknown>, readFile, fault);
  const shared = common.safeParse(given);
  const { apps: _apps, calls_at_a_time: _atATime, calls_per_second: _perSecond, ...own } = given;
  const settled = KINDS[name].read(own);
  const issues = [...(shared.success ? [] : shared.error.issues), ...settled.issues];
  // The account's name is looked at by both.
  for (const sentence of new Set(issues.map(({ path, message }) => `${path.map((step) => `.${String(step)}`).join('')}: ${message}`))) fault(sentence);
  if (!shared.success || settled.connect === null) return null;

  const { account, apps, calls_at_a_time: concurrency, calls_per_second: perSecond } = shared.data;
  return {
    platform: KINDS[name].platform,
    account,
    apps,
    limits: { concurrency, perSecond },
    urls: textsOf(given).filter((text) => /^https?:\/\//.test(text)),
    keys: textsOf(given).flatMap(keysOf),
    connect: settled.connect,
  };
}

/** `<name>_file` is read into `<name>`. */
function withFiles(entry: Record<string, unknown>, readFile: (path: string) => string, fault: (sentence: string) => void): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(entry).map(([name, value]) => {
      if (!name.endsWith('_file') || typeof value !== 'string') return [name, value];
      try {
        return [name.slice(0, -'_file'.length), readFile(value)];
      } catch (error) {
        fault(`.${name}: cannot be read (${String(error)})`);
        return [name.slice(0, -'_file'.length), ''];
      }
    }),
  );
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

function kind<S>(platform: PlatformName, settings: z.ZodType<S>, create: (settings: S, notificationUrl: string) => PlatformAdapter) {
  return {
    platform,
    read(given: Record<string, unknown>): { readonly issues: readonly Issue[]; readonly connect: ((notificationUrl: string) => PlatformAdapter) | null } {
      const read = settings.safeParse(given);
      if (!read.success) return { issues: read.error.issues, connect: null };
      return { issues: [], connect: (notificationUrl) => create(read.data, notificationUrl) };
    },
  };
}

const textsOf = (value: unknown): string[] =>
  typeof value === 'string' ? [value] : typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : [];

function keysOf(text: string): KeyObject[] {
  const read = [
    ...pemsOf(text).map((pem) => () => new X509Certificate(pem).publicKey),
    ...(text.length < 256 || text.includes('BEGIN CERTIFICATE') ? [] : [() => createPublicKey(privateKeyOf(text)), () => publicKeyOf(text)]),
  ];
  return read.flatMap((attempt) => {
    try {
      return [attempt()];
    } catch {
      return [];
    }
  });
}

/** The simulators' keys have a public exponent that no platform uses, so that they can never pass for real ones. */
const SIMULATOR_EXPONENT = 65_539n;

/** What must not be in production: an address of this machine, or a key of a simulator. */
export function simulatedParts(account: Account): string[] {
  const local = account.urls.filter((url) => /^(localhost\.?$|.*\.localhost\.?$|127\.|0\.0\.0\.0$|\[::1?\]|\[::ffff:7f)/.test(new URL(url).hostname));
  const marked = account.keys.some((key) => key.asymmetricKeyDetails?.publicExponent === SIMULATOR_EXPONENT);
  return [...local.map((url) => `${url} is on this machine, so a simulator's`), ...(marked ? ['one of its keys is a simulator\'s'] : [])];
}

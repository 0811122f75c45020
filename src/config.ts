/** The environment as a Config. This is the only file that reads it; every fault is named at once. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';

export interface Config {
  readonly production: boolean;
  /** Null: an embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | null;
  readonly dataDir: string;
  readonly migrateAtStart: boolean;
  readonly grpc: { readonly host: string; readonly port: number; readonly reflection: boolean };
  readonly notifications: { readonly host: string; readonly port: number; readonly baseUrl: string | null };
  /** Null: no simulator. */
  readonly simulator: { readonly gatewayPort: number; readonly controlPort: number } | null;
  readonly alipay: AlipaySettings | null;
  /** Null: every reporter is trusted, as in development. Else `app:reporter` pairs; `*` stands for any. */
  readonly trustedReporters: readonly string[] | null;
  readonly tokenKey: string;
  readonly logLevel: string;
}

export interface AlipaySettings {
  readonly merchantAccount: string;
  readonly appId: string;
  readonly sellerId: string;
  readonly gatewayUrl: string;
  readonly appPrivateKey: string;
  readonly alipayPublicKey: string;
}

/** Carries one readable sentence for each fault. */
export class ConfigError extends Error {}

const port = z
  .string()
  .regex(/^\d{1,5}$/, 'must be a port number')
  .transform(Number)
  .refine((value) => value <= 65_535, 'must be at most 65535');
const flag = z.stringbool();

const environment = z.object({
  NODE_ENV: z.string().default('development'),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgresql:// URL' }).optional(),
  PAYSTATE_DATA_DIR: z.string().default('.paystate'),
  PAYSTATE_MIGRATE: flag.optional(),
  PAYSTATE_GRPC_HOST: z.string().default('127.0.0.1'),
  PAYSTATE_GRPC_PORT: port.default(50051),
  PAYSTATE_REFLECTION: flag.optional(),
  PAYSTATE_NOTIFICATION_HOST: z.string().default('127.0.0.1'),
  PAYSTATE_NOTIFICATION_PORT: port.default(50052),
  PAYSTATE_NOTIFICATION_BASE_URL: z.url({ protocol: /^https?$/, error: 'must be an http(s) URL' }).optional(),
  PAYSTATE_SIMULATOR: flag.optional(),
  PAYSTATE_SIMULATOR_PORT: port.default(50053),
  PAYSTATE_SIMULATOR_CONTROL_PORT: port.default(50054),
  PAYSTATE_ALIPAY_ACCOUNT: z.string().regex(/^[\w.-]{1,64}$/).default('alipay'),
  PAYSTATE_ALIPAY_APP_ID: z.string().optional(),
  PAYSTATE_ALIPAY_SELLER_ID: z.string().optional(),
  PAYSTATE_ALIPAY_GATEWAY_URL: z.url({ protocol: /^https?$/, error: 'must be an http(s) URL' }).default('https://openapi.alipay.com/gateway.do'),
  PAYSTATE_ALIPAY_APP_PRIVATE_KEY: z.string().optional(),
  PAYSTATE_ALIPAY_PUBLIC_KEY: z.string().optional(),
  PAYSTATE_TRUSTED_REPORTERS: z.string().optional(),
  PAYSTATE_TOKEN_KEY: z.string().min(16, 'must have at least 16 characters').optional(),
  PAYSTATE_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

type Environment = z.infer<typeof environment>;

/** Secrets that may come as a file: `<NAME>_FILE` names it. */
const FROM_FILE = ['DATABASE_URL', 'PAYSTATE_ALIPAY_APP_PRIVATE_KEY', 'PAYSTATE_ALIPAY_PUBLIC_KEY', 'PAYSTATE_TOKEN_KEY'];

/** Reads the configuration, or throws a ConfigError that names every fault. */
export function readConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const faults: string[] = [];
  const parsed = environment.safeParse(withFiles(env, faults));
  if (!parsed.success) faults.push(...z.prettifyError(parsed.error).split(/\n(?=✖)/));
  if (!parsed.success || faults.length > 0) throw new ConfigError(faults.join('\n'));

  const config = configOf(parsed.data, faults);
  if (faults.length > 0) throw new ConfigError(faults.join('\n'));
  return config;
}

function configOf(env: Environment, faults: string[]): Config {
  const production = env.NODE_ENV === 'production';
  const alipay = alipayOf(env, faults);
  const simulated = env.PAYSTATE_SIMULATOR ?? (!production && alipay === null);

  if (production && simulated) faults.push('PAYSTATE_SIMULATOR: simulators are refused in production');
  if (production && alipay !== null && isLocal(alipay.gatewayUrl)) {
    faults.push('PAYSTATE_ALIPAY_GATEWAY_URL: a gateway on this machine is a simulator and refused in production');
  }
  if (production && env.DATABASE_URL === undefined) faults.push('DATABASE_URL: required in production');
  if (production && env.PAYSTATE_TOKEN_KEY === undefined) faults.push('PAYSTATE_TOKEN_KEY: required in production');
  if (alipay !== null && env.PAYSTATE_NOTIFICATION_BASE_URL === undefined) {
    faults.push('PAYSTATE_NOTIFICATION_BASE_URL: required, the platform must know where to send notifications');
  }

  return {
    production,
    databaseUrl: env.DATABASE_URL ?? null,
    dataDir: resolve(env.PAYSTATE_DATA_DIR),
    migrateAtStart: env.PAYSTATE_MIGRATE ?? env.DATABASE_URL === undefined,
    grpc: {
      host: env.PAYSTATE_GRPC_HOST,
      port: env.PAYSTATE_GRPC_PORT,
      reflection: env.PAYSTATE_REFLECTION ?? !production,
    },
    notifications: {
      host: env.PAYSTATE_NOTIFICATION_HOST,
      port: env.PAYSTATE_NOTIFICATION_PORT,
      baseUrl: env.PAYSTATE_NOTIFICATION_BASE_URL ?? null,
    },
    simulator: simulated
      ? { gatewayPort: env.PAYSTATE_SIMULATOR_PORT, controlPort: env.PAYSTATE_SIMULATOR_CONTROL_PORT }
      : null,
    alipay,
    trustedReporters: env.PAYSTATE_TRUSTED_REPORTERS?.split(',').map((pair) => pair.trim()) ?? (production ? [] : null),
    tokenKey: env.PAYSTATE_TOKEN_KEY ?? 'development page tokens',
    logLevel: env.PAYSTATE_LOG_LEVEL,
  };
}

function alipayOf(env: Environment, faults: string[]): AlipaySettings | null {
  const needed = {
    PAYSTATE_ALIPAY_APP_ID: env.PAYSTATE_ALIPAY_APP_ID,
    PAYSTATE_ALIPAY_SELLER_ID: env.PAYSTATE_ALIPAY_SELLER_ID,
    PAYSTATE_ALIPAY_APP_PRIVATE_KEY: env.PAYSTATE_ALIPAY_APP_PRIVATE_KEY,
    PAYSTATE_ALIPAY_PUBLIC_KEY: env.PAYSTATE_ALIPAY_PUBLIC_KEY,
  };
  const missing = Object.entries(needed).filter(([, value]) => value === undefined);
  if (missing.length === Object.keys(needed).length) return null;
  for (const [name] of missing) faults.push(`${name}: required once any PAYSTATE_ALIPAY_ setting is given`);
  return {
    merchantAccount: env.PAYSTATE_ALIPAY_ACCOUNT,
    appId: env.PAYSTATE_ALIPAY_APP_ID ?? '',
    sellerId: env.PAYSTATE_ALIPAY_SELLER_ID ?? '',
    gatewayUrl: env.PAYSTATE_ALIPAY_GATEWAY_URL,
    appPrivateKey: env.PAYSTATE_ALIPAY_APP_PRIVATE_KEY ?? '',
    alipayPublicKey: env.PAYSTATE_ALIPAY_PUBLIC_KEY ?? '',
  };
}

/** An empty variable means an absent one; `<NAME>_FILE` is read where `<NAME>` itself is absent. */
function withFiles(env: Readonly<Record<string, string | undefined>>, faults: string[]): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined && value !== '') given[name] = value;
  for (const name of FROM_FILE) {
    const path = given[`${name}_FILE`];
    if (path === undefined || given[name] !== undefined) continue;
    try {
      given[name] = readFileSync(path, 'utf8').trim();
    } catch (error) {
      faults.push(`${name}_FILE: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return given;
}

const isLocal = (url: string): boolean => /^(localhost|127\.|\[::1\]|0\.0\.0\.0)/.test(new URL(url).hostname);

/** The environment as a Config. This is the only file that reads it; every fault is named at once. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { LateSuccessPolicy } from './payment/late-success.js';
import { readAccounts, simulatedParts, type Account } from './platform/accounts.js';

export interface Config {
  readonly production: boolean;
  /** Null: an embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | null;
  /** Null: every replica reads the feed from the database. Else JetStream, on the servers of one cluster, brings it. */
  readonly nats: { readonly urls: readonly string[]; readonly replicas: number } | null;
  readonly dataDir: string;
  readonly migrateAtStart: boolean;
  readonly grpc: { readonly host: string; readonly port: number; readonly reflection: boolean };
  readonly notifications: { readonly host: string; readonly port: number; readonly baseUrl: string | null };
  /** Metrics and probes. */
  readonly admin: { readonly host: string; readonly port: number };
  /** Null: no simulators. Else the port of their control; the platforms follow on the next three, on any free ones for 0. */
  readonly simulator: { readonly port: number } | null;
  readonly platforms: readonly Account[];
  /** Null: every reporter is trusted, as in development. Else `app:reporter` pairs; `*` stands for any. */
  readonly trustedReporters: readonly string[] | null;
  /** What becomes of money that comes after its payment had ended; HOLD for an app that has none and no `*`. */
  readonly lateSuccessPolicies: Readonly<Record<string, LateSuccessPolicy>>;
  /** For at least so long a cursor can be resumed from. */
  readonly feedRetentionDays: number;
  readonly tokenKey: string;
  readonly logLevel: string;
}

/** Carries one readable sentence for each fault. */
export class ConfigError extends Error {}

const port = z
  .string()
  .regex(/^\d{1,5}$/, 'must be a port number')
  .transform(Number)
  .refine((value) => value <= 65_535, 'must be at most 65535');
const days = z
  .string()
  .regex(/^\d{1,6}$/, 'must be a whole number of days')
  .transform(Number)
  .refine((value) => value >= 1 && value <= 3_650, 'must be 1 to 3650 days');
const flag = z.stringbool();

const environment = z.object({
  NODE_ENV: z.string().default('development'),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgresql:// URL' }).optional(),
  PAYSTATE_FEED_TRANSPORT: z.enum(['postgres', 'nats']).default('postgres'),
  PAYSTATE_NATS_URL: z
    .string()
    .transform((urls) => urls.split(',').map((url) => url.trim()))
    .pipe(z.array(z.url({ protocol: /^(nats|tls)$/, error: 'must be a nats:// or tls:// URL, or several of one cluster, separated by commas' })))
    .optional(),
  PAYSTATE_NATS_REPLICAS: z
    .string()
    .regex(/^[135]$/, 'must be 1, 3 or 5, the copies of a stream in a cluster of NATS')
    .transform(Number)
    .default(1),
  PAYSTATE_DATA_DIR: z.string().default('.paystate'),
  PAYSTATE_MIGRATE: flag.optional(),
  PAYSTATE_GRPC_HOST: z.string().default('127.0.0.1'),
  PAYSTATE_GRPC_PORT: port.default(50051),
  PAYSTATE_REFLECTION: flag.optional(),
  PAYSTATE_NOTIFICATION_HOST: z.string().default('127.0.0.1'),
  PAYSTATE_NOTIFICATION_PORT: port.default(50052),
  PAYSTATE_NOTIFICATION_BASE_URL: z.url({ protocol: /^https?$/, error: 'must be an http(s) URL' }).optional(),
  PAYSTATE_ADMIN_HOST: z.string().default('127.0.0.1'),
  PAYSTATE_ADMIN_PORT: port.default(50057),
  PAYSTATE_SIMULATOR: flag.optional(),
  PAYSTATE_SIMULATOR_PORT: port.default(50053),
  PAYSTATE_PLATFORMS: z.string().optional(),
  PAYSTATE_PLATFORMS_FILE: z.string().optional(),
  PAYSTATE_TRUSTED_REPORTERS: z.string().optional(),
  PAYSTATE_LATE_SUCCESS: z
    .string()
    .regex(/^[^:,]+:(ACCEPT|REFUND|HOLD)(,[^:,]+:(ACCEPT|REFUND|HOLD))*$/, 'must be <app>:ACCEPT, REFUND or HOLD, separated by commas; * stands for any app')
    .optional(),
  PAYSTATE_FEED_RETENTION: days.default(30),
  PAYSTATE_TOKEN_KEY: z.string().min(16, 'must have at least 16 characters').optional(),
  PAYSTATE_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

type Environment = z.infer<typeof environment>;

/** What may come as a file: `<NAME>_FILE` names it. */
const FROM_FILE = ['DATABASE_URL', 'PAYSTATE_NATS_URL', 'PAYSTATE_PLATFORMS', 'PAYSTATE_TOKEN_KEY'];

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
  const platforms = platformsOf(env, faults);
  const simulated = env.PAYSTATE_SIMULATOR ?? (!production && env.PAYSTATE_PLATFORMS === undefined);

  if (production && simulated) faults.push('PAYSTATE_SIMULATOR: simulators are refused in production');
  if (simulated && env.PAYSTATE_PLATFORMS !== undefined) {
    faults.push('PAYSTATE_SIMULATOR: simulators stand for the platforms; PAYSTATE_PLATFORMS has others');
  }
  for (const account of production ? platforms : []) {
    for (const part of simulatedParts(account)) {
      faults.push(`PAYSTATE_PLATFORMS: ${account.platform} account ${account.account}: ${part} and refused in production`);
    }
  }
  if (production && env.DATABASE_URL === undefined) faults.push('DATABASE_URL: required in production');
  if (env.PAYSTATE_FEED_TRANSPORT === 'nats' && env.PAYSTATE_NATS_URL === undefined) {
    faults.push('PAYSTATE_NATS_URL: required where PAYSTATE_FEED_TRANSPORT is nats');
  }
  if (production && env.PAYSTATE_TOKEN_KEY === undefined) faults.push('PAYSTATE_TOKEN_KEY: required in production');
  if (platforms.length > 0 && env.PAYSTATE_NOTIFICATION_BASE_URL === undefined) {
    faults.push('PAYSTATE_NOTIFICATION_BASE_URL: required, the platforms must know where to send notifications');
  }

  return {
    production,
    databaseUrl: env.DATABASE_URL ?? null,
    nats: env.PAYSTATE_FEED_TRANSPORT === 'nats' ? { urls: env.PAYSTATE_NATS_URL ?? [], replicas: env.PAYSTATE_NATS_REPLICAS } : null,
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
    admin: { host: env.PAYSTATE_ADMIN_HOST, port: env.PAYSTATE_ADMIN_PORT },
    simulator: simulated ? { port: env.PAYSTATE_SIMULATOR_PORT } : null,
    platforms,
    trustedReporters: env.PAYSTATE_TRUSTED_REPORTERS?.split(',').map((pair) => pair.trim()) ?? (production ? [] : null),
    lateSuccessPolicies: Object.fromEntries(
      (env.PAYSTATE_LATE_SUCCESS?.split(',') ?? []).map((pair) => pair.split(':') as [string, LateSuccessPolicy]),
    ),
    feedRetentionDays: env.PAYSTATE_FEED_RETENTION,
    tokenKey: env.PAYSTATE_TOKEN_KEY ?? 'development page tokens',
    logLevel: env.PAYSTATE_LOG_LEVEL,
  };
}

/** Paths in it are relative to its own file, or to where the service is started. */
function platformsOf(env: Environment, faults: string[]): readonly Account[] {
  if (env.PAYSTATE_PLATFORMS === undefined) return [];
  let json: unknown;
  try {
    json = JSON.parse(env.PAYSTATE_PLATFORMS);
  } catch (error) {
    faults.push(`PAYSTATE_PLATFORMS: is not JSON (${error instanceof Error ? error.message : String(error)})`);
    return [];
  }
  const folder = env.PAYSTATE_PLATFORMS_FILE === undefined ? '.' : dirname(env.PAYSTATE_PLATFORMS_FILE);
  const read = readAccounts(json, (path) => readFileSync(resolve(folder, path), 'utf8').trim());
  faults.push(...read.faults.map((fault) => `PAYSTATE_PLATFORMS: ${fault}`));
  return read.accounts;
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

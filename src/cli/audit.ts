/** `paystate audit`: the chain heads of a range as a signed file, and such a file held against the database. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import type { MikroORM } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { checkingKeyOf, keyIdOf, newKeyPair, signingKeyOf } from '../audit/audit-key.js';
import { compareExport } from '../audit/compare-export.js';
import { databaseIdentity } from '../audit/database-identity.js';
import { NotGenuine, readExport, type Trust } from '../audit/read-export.js';
import { writeExport } from '../audit/write-export.js';
import { systemClock } from '../clock.js';
import { ConfigError, readConfig } from '../config.js';
import { openOrm } from '../store/orm.js';
import { withDatabase } from './database.js';

export function addAuditCommands(program: Command): void {
  const audit = program.command('audit').description('make a rewrite of history evident');

  audit
    .command('keygen')
    .description('write a new pair of Ed25519 keys, audit-private.pem and audit-public.pem')
    .requiredOption('--out <dir>', 'folder for both; existing keys are left alone')
    .action(keygenCommand);
  audit
    .command('export')
    .description('write where the log of every payment of a range ends now; keep the file away from the database')
    .requiredOption('--from <time>', 'payments created from here on: a day (UTC) or an ISO 8601 time with its zone', timeOf)
    .option('--to <time>', 'payments created before this; now, when absent', timeOf)
    .requiredOption('--out <file>', 'a file that does not exist yet')
    .option('--key <file>', 'private key to sign with (PEM, Ed25519); without it, keep the printed sha256 elsewhere')
    .action(exportCommand);
  audit
    .command('verify')
    .description('hold an export against the database; exit 0: all is there, 1: evidence of a rewrite, 2: not genuine, 75: could not be done')
    .argument('<file>', 'the export')
    .option('--key <file>', 'public key that it must be signed by (PEM)')
    .option('--sha256 <digest>', 'digest that it must have, beside a signature or in its place', digestOf)
    .action(verifyCommand);
}

/** In the words of sysexits.h: another time, perhaps. It says nothing about the payments. */
const NOT_DONE = 75;
const POOL = 2;

const say = (sentence: string): void => void process.stdout.write(`${sentence}\n`);

function keygenCommand({ out }: { out: string }): void {
  const { privatePem, publicPem, keyId } = newKeyPair();
  mkdirSync(out, { recursive: true });
  writeNew(join(out, 'audit-private.pem'), privatePem, 0o600);
  writeNew(join(out, 'audit-public.pem'), publicPem, 0o644);
  say(`key ${keyId} is in ${join(out, 'audit-private.pem')} and audit-public.pem`);
}

async function exportCommand({ from, to = systemClock.now(), out: path, key: keyFile }: { from: Date; to?: Date; out: string; key?: string }): Promise<void> {
  if (from >= to) throw new ConfigError('--to must be after --from');
  const key = keyFile === undefined ? null : readKey(keyFile, signingKeyOf);

  await withOrm(async (orm) => {
    const { payments, sha256 } = await writeExport({ orm, clock: systemClock }, { range: { from, to }, path, key }).catch((error: unknown) => {
      throw codeOf(error) === 'EEXIST' ? new ConfigError(`${path} exists already`) : error;
    });
    say(`${payments} payments created from ${from.toISOString()} to ${to.toISOString()} are in ${path}`);
    say(`sha256 ${sha256}, ${key === null ? 'not signed: keep it where nobody who can change the database can change it' : `signed by key ${keyIdOf(key)}`}`);
  });
}

async function verifyCommand(path: string, { key: keyFile, sha256 }: { key?: string; sha256?: string }): Promise<void> {
  const key = keyFile === undefined ? null : readKey(keyFile, checkingKeyOf);
  try {
    process.exitCode = await verifyExport(path, trustOf(key, sha256 ?? null));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    process.stderr.write(`${path}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof NotGenuine ? 2 : NOT_DONE;
  }
}

async function verifyExport(path: string, trust: Trust): Promise<number> {
  const header = await readExport(path, trust);
  const { from, to, createdAt, database, keyId } = header;
  const by = trust.key === null ? 'by its sha256' : `signed by key ${keyId}`;
  say(`genuine, ${by}: payments created from ${from.toISOString()} to ${to.toISOString()}, as of ${createdAt.toISOString()}`);

  return await withOrm(async (orm) => {
    const here = await databaseIdentity(orm);
    if (here.feedId !== database.feedId) say('note: this is not the database of the export');
    else if (here.systemIdentifier !== database.systemIdentifier) say('note: the database has moved to another cluster since');

    const { payments, entries, evidence } = await compareExport({ orm }, { path, trust, header }, ({ paymentId, what }) => say(`evidence ${paymentId}: ${what}`));
    say(`${payments} payments with ${entries} entries: ${evidence === 0 ? 'all is as it was exported' : `${evidence} pieces of evidence that history was rewritten`}`);
    return evidence === 0 ? 0 : 1;
  });
}

function trustOf(key: Trust['key'], sha256: string | null): Trust {
  if (key !== null) return { key, sha256 };
  if (sha256 !== null) return { key, sha256 };
  throw new ConfigError('say by --key or --sha256 how the export is known as genuine');
}

async function withOrm<T>(work: (orm: MikroORM) => Promise<T>): Promise<T> {
  return await withDatabase(readConfig(), async (url) => {
    const orm = await openOrm(url, POOL);
    try {
      return await work(orm);
    } finally {
      await orm.close(true);
    }
  });
}

function readKey<Key>(path: string, read: (pem: string) => Key): Key {
  try {
    return read(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`--key ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function writeNew(path: string, text: string, mode: number): void {
  try {
    writeFileSync(path, text, { mode, flag: 'wx' });
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw new ConfigError(`${path} exists already`);
    throw error;
  }
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

const TIME = z.union([z.iso.date(), z.iso.datetime({ offset: true })]);

function timeOf(text: string): Date {
  if (!TIME.safeParse(text).success) throw new InvalidArgumentError('It must be a day such as 2026-01-31, or an ISO 8601 time with its zone.');
  return new Date(text);
}

function digestOf(text: string): string {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError('It must be 64 hex digits in lower case.');
  return text;
}

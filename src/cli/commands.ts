import { join } from 'node:path';
import { Command } from 'commander';
import { VERSION } from '../app.js';
import { ConfigError, readConfig } from '../config.js';
import { PLATFORMS } from '../payment/platform.js';
import { resetEmbeddedPostgres } from '../store/embedded-postgres.js';
import { migrateUp, migrationStatus } from '../store/migrate.js';
import { existsSync, readdirSync } from 'node:fs';
import { rm, rmdir } from 'node:fs/promises';
import { addAuditCommands } from './audit.js';
import { callMethod } from './call.js';
import { withDatabase } from './database.js';
import { runDemo } from './demo.js';
import { reconcileDay, type ReconcileOptions } from './reconcile.js';
import { runSimulators } from './simulator.js';

/** 0 ok, 1 error, 2 usage, 78 configuration; `audit verify` and `reconcile` have their own meanings of 1 and 2. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  const program = new Command('paystate').description('Unified payment state management').version(VERSION).exitOverride();

  const migrate = program.command('migrate').description('versioned migrations of the database');
  migrate.command('up').description('apply what is pending').action(migrateUpCommand);
  migrate.command('status').description('list what is applied and pending; exit 1 when something is pending').action(statusCommand);

  program
    .command('reset')
    .description('delete the data of the embedded database and of the simulators')
    .option('--yes', 'really')
    .action(resetCommand);
  program.command('demo').description('a payment at each platform from creation to refund, through the real wire formats').action(demoCommand);
  program
    .command('simulator')
    .description('the simulated platforms alone, and the configuration of a service that uses them')
    .action(async () => await runSimulators(readConfig()));
  program
    .command('call')
    .description('call any method: paystate call payment.v1.PaymentService/GetPayment -d \'{"ref":{"payment_id":"…"}}\'')
    .argument('<method>', 'full name, as Service/Method')
    .option('-d, --data <json>', 'the request as JSON', '{}')
    .option('--address <host:port>', 'where the service is', '127.0.0.1:50051')
    .action(callMethod);
  addAuditCommands(program);
  program
    .command('reconcile')
    .description("hold a day's settlement bill against the records; exit 0: they agree, 1: they do not, 2: it failed")
    .requiredOption('--platform <name>', PLATFORMS.map((name) => name.toLowerCase()).join(', '))
    .requiredOption('--day <yyyy-mm-dd>', 'a Beijing day that is over')
    .option('--account <name>', 'our account there; else the default one', '')
    .option('--apply', 'join the findings as evidence; else nothing changes', false)
    .option('--address <host:port>', 'where the service is', '127.0.0.1:50051')
    .action(async (options: ReconcileOptions) => void (process.exitCode = await reconcileDay(options)));

  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = exitCodeOf(error);
  }
}

async function migrateUpCommand(): Promise<void> {
  await withDatabase(readConfig(), async (url, embedded) => {
    const applied = await migrateUp(url, { createDatabase: embedded });
    process.stdout.write(applied.length === 0 ? 'nothing pending\n' : `${applied.map((name) => `applied ${name}`).join('\n')}\n`);
  });
}

async function statusCommand(): Promise<void> {
  await withDatabase(readConfig(), async (url) => {
    const { applied, pending } = await migrationStatus(url);
    for (const name of applied) process.stdout.write(`applied  ${name}\n`);
    for (const name of pending) process.stdout.write(`pending  ${name}\n`);
    if (pending.length > 0) process.exitCode = 1;
  });
}

const OURS = /^(postgres(\..*)?|simulator-[a-z]+\.json(\..*)?|simulator\.json|platforms\.json)$/;

async function resetCommand(options: { yes?: boolean }): Promise<void> {
  const config = readConfig();
  if (config.databaseUrl !== null) throw new ConfigError('reset clears the embedded database only; DATABASE_URL is set');
  if (options.yes !== true) throw new ConfigError(`this deletes everything in ${config.dataDir}; say so with --yes`);
  await resetEmbeddedPostgres(join(config.dataDir, 'postgres'));
  // What is not ours in the folder stays, and the folder with it.
  const ours = existsSync(config.dataDir) ? readdirSync(config.dataDir).filter((name) => OURS.test(name)) : [];
  for (const name of ours) await rm(join(config.dataDir, name), { recursive: true, force: true });
  if (existsSync(config.dataDir) && readdirSync(config.dataDir).length === 0) await rmdir(config.dataDir);
  process.stdout.write(`the data in ${config.dataDir} is gone\n`);
}

async function demoCommand(): Promise<void> {
  if (!(await runDemo(readConfig()))) process.exitCode = 1;
}

function exitCodeOf(error: unknown): number {
  // commander has already said what was wrong with the command line; asking for help or version is no fault.
  if (error instanceof Error && 'code' in error && String(error.code).startsWith('commander.')) {
    return 'exitCode' in error && error.exitCode === 0 ? 0 : 2;
  }
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  return error instanceof ConfigError ? 78 : 1;
}

import { createHash, sign, type KeyObject } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Clock } from '../clock.js';
import { paymentPages, type CreationRange } from '../payment/read-chains.js';
import { keyIdOf } from './audit-key.js';
import { databaseIdentity } from './database-identity.js';
import { headerLine, PAGE, paymentLine, signedText, trailerLine } from './export-format.js';

export interface Written {
  readonly payments: number;
  readonly sha256: string;
}

/**
 * Writes the chain heads of a range to a file that must not exist yet. Each page of payments is as of its own reading: what happens
 * meanwhile is in the file or grows behind it. A file that could not be finished is removed.
 */
export async function writeExport(
  deps: { readonly orm: MikroORM; readonly clock: Clock },
  { range, path, key }: { readonly range: CreationRange; readonly path: string; readonly key: KeyObject | null },
): Promise<Written> {
  await using file = await open(path, 'wx', 0o600);
  try {
    const written = await writeLines(deps, file, { range, key });
    await file.sync();
    return written;
  } catch (error) {
    await unlink(path).catch(() => undefined);
    throw error;
  }
}

async function writeLines(
  { orm, clock }: { readonly orm: MikroORM; readonly clock: Clock },
  file: FileHandle,
  { range, key }: { readonly range: CreationRange; readonly key: KeyObject | null },
): Promise<Written> {
  const digest = createHash('sha256');
  const write = async (lines: string): Promise<void> => {
    digest.update(lines);
    await file.appendFile(lines);
  };

  const keyId = key === null ? null : keyIdOf(key);
  await write(headerLine({ ...range, createdAt: clock.now(), database: await databaseIdentity(orm), keyId }));
  let payments = 0;
  for await (const page of paymentPages(orm, range, PAGE)) {
    await write(page.map(paymentLine).join(''));
    payments += page.length;
  }

  const sealed = { payments, sha256: digest.digest('hex') };
  await file.appendFile(trailerLine({ ...sealed, signature: key === null ? null : sign(null, signedText(sealed), key) }));
  return sealed;
}

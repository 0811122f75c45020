import { existsSync, readFileSync } from 'node:fs';

const FOLDER = new URL('../../../shared/vectors/', import.meta.url);

/** Third-party vectors, kept outside the project. Their folder may be absent; a folder that is there counts in full. */
export function vectorsOf(platform: string): Record<string, Record<string, unknown>> | null {
  if (!existsSync(FOLDER)) {
    process.stdout.write('shared/vectors not present, independent vectors not checked\n');
    return null;
  }
  const file = JSON.parse(readFileSync(new URL(`${platform}.json`, FOLDER), 'utf8')) as { vectors: Record<string, Record<string, unknown>> };
  return file.vectors;
}

/** A test that runs only where the vectors are. */
export const testVectors = (vectors: object | null) => (vectors === null ? test.skip : test);

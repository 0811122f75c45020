/** The rules of the folders: who may import what, who reads the environment, who assigns a status. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const SOURCE = new URL('../src/', import.meta.url).pathname;

interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Imports that exist at run time, and imports of types, as paths below src or package names. */
  readonly imports: readonly { readonly target: string; readonly typeOnly: boolean }[];
}

const files: SourceFile[] = (readdirSync(SOURCE, { recursive: true }) as string[])
  .filter((path) => path.endsWith('.ts') && !path.startsWith('gen/'))
  .map((path) => {
    const text = readFileSync(join(SOURCE, path), 'utf8');
    const statements = text.matchAll(/^(?:import|export)\s+(type\s+)?([^;]*?\sfrom\s+)?'([^']+)';/gms);
    const imports = [...statements].map(([, typeOnly, names, source]) => ({
      target: source!.startsWith('.') ? normalize(join(dirname(path), source!)).replace(/\.js$/, '.ts') : source!,
      typeOnly: typeOnly !== undefined || (names !== undefined && /^\{\s*(type [^,}]+,?\s*)+\}/.test(names)),
    }));
    return { path, text, imports };
  });

const folderOf = (path: string): string => path.split('/')[0]!;
const offenders = (found: (file: SourceFile) => boolean): string[] => files.filter(found).map((file) => file.path);
const importsFolder = (file: SourceFile, folder: string): boolean => file.imports.some(({ target }) => folderOf(target) === folder && target.includes('/'));

test('there is something to check', () => {
  expect(files.length).toBeGreaterThan(40);
});

test('only rpc, cli and client import generated code', () => {
  expect(offenders((file) => !['rpc', 'cli', 'client'].includes(folderOf(file.path)) && importsFolder(file, 'gen'))).toEqual([]);
});

test('the client is a package of its own: it imports itself, generated code and gRPC', () => {
  const foreign = files
    .filter((file) => folderOf(file.path) === 'client')
    .flatMap(({ path, imports }) => imports.filter(({ target }) => !/^(client|gen)\/|^@grpc\/grpc-js$|^node:/.test(target)).map(({ target }) => `${path} imports ${target}`));
  expect(foreign).toEqual([]);
});

test('only config.ts reads the environment', () => {
  expect(offenders((file) => file.path !== 'config.ts' && file.text.includes('process.env'))).toEqual([]);
});

test('only adapters open sockets to platforms', () => {
  const calls = (file: SourceFile): boolean => /\bfetch\(|https?\.request\(/.test(file.text);
  expect(offenders((file) => !['platform', 'simulator', 'cli'].includes(folderOf(file.path)) && calls(file))).toEqual([]);
});

test('simulators and adapters share no code', () => {
  expect(offenders((file) => folderOf(file.path) === 'simulator' && (importsFolder(file, 'platform') || importsFolder(file, 'payment')))).toEqual([]);
  expect(offenders((file) => file.path !== 'app.ts' && !['simulator', 'cli'].includes(folderOf(file.path)) && importsFolder(file, 'simulator'))).toEqual([]);
});

test('the domain knows neither gRPC nor HTTP nor a platform by its adapter', () => {
  const domain = files.filter((file) => ['payment', 'refund'].includes(folderOf(file.path)));
  const foreign = domain.flatMap(({ path, imports }) =>
    imports
      .filter(({ target, typeOnly }) => /^@grpc|^node:http|^(rpc|platform|feed|sync|notification|simulator|cli)\//.test(target) || (/^store\//.test(target) && !typeOnly))
      .map(({ target }) => `${path} imports ${target}`),
  );
  expect(foreign).toEqual([]);
});

test('no file but a platform\'s own, its simulator and the registry names a platform, except the enum', () => {
  const named = offenders(({ path, text }) => !['platform', 'simulator'].includes(folderOf(path)) && !path.startsWith('store/migrations/') && /alipay|wechat|unionpay/i.test(text));
  expect(named).toEqual(['payment/platform.ts']);
  const shared = offenders(({ path, text }) => /^platform\/[^/]+$/.test(path) && /alipay|wechat|unionpay/i.test(text));
  expect(shared).toEqual(['platform/accounts.ts']);
});

test('the port to a platform has at most eight methods', () => {
  const [port] = /export interface PlatformAdapter \{.*?^\}/ms.exec(files.find(({ path }) => path === 'payment/platform.ts')!.text)!;
  expect([...port.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name)).toEqual(['orderTime', 'create', 'query', 'close', 'refund', 'queryRefund', 'readNotification', 'downloadBill']);
});

test('only payment.ts and refund.ts assign a status', () => {
  const assigns = /\b(this|payment|refund|locked|entity)\.status\s*=[^=]/;
  expect(offenders((file) => folderOf(file.path) !== 'simulator' && assigns.test(file.text))).toEqual(['payment/payment.ts', 'refund/refund.ts'].filter((path) => files.some((file) => file.path === path)));
});

test('no import cycles', () => {
  const graph = new Map(files.map(({ path, imports }) => [path, imports.filter(({ typeOnly }) => !typeOnly).map(({ target }) => target)]));
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string | null => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(' → ');
    if (done.has(path)) return null;
    for (const next of graph.get(path) ?? []) {
      const cycle = visit(next, [...trail, path]);
      if (cycle !== null) return cycle;
    }
    done.add(path);
    return null;
  };
  expect([...graph.keys()].map((path) => visit(path, [])).filter((cycle) => cycle !== null)).toEqual([]);
});

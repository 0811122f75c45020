/**
 * Makes the npm package @paystate/client of src/client and the generated code that it imports: dist/client-package, and a tarball of
 * it in the folder that is given, by default dist. Types were checked by the build; here they are only written down.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = resolve(root, 'dist/client-package');
const destination = resolve(process.argv[2] ?? resolve(root, 'dist'));
const { version, license, dependencies } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'));

rmSync(folder, { recursive: true, force: true });
execFileSync(process.execPath, [resolve(root, 'node_modules/typescript/bin/tsc'), '-p', resolve(root, 'src/client/tsconfig.package.json')], { stdio: 'inherit' });

const entry = (path) => ({ types: `./lib/${path}.d.ts`, default: `./lib/${path}.js` });
const range = (name) => [name, `^${dependencies[name]}`];
writeJson('package.json', {
  name: '@paystate/client',
  version,
  description: 'Client of paystate: typed calls, resumable watches, and a fake for tests',
  license,
  type: 'module',
  engines: { node: '>=20.3' },
  exports: {
    '.': entry('client/index'),
    './fake': entry('client/fake/fake-client'),
    './payment/v1/*': entry('gen/payment/v1/*'),
    './service_config.json': './service_config.json',
    './package.json': './package.json',
  },
  files: ['lib', 'service_config.json'],
  sideEffects: false,
  dependencies: Object.fromEntries(['@bufbuild/protobuf', '@grpc/grpc-js'].map(range)),
});
cpSync(resolve(root, 'src/client/README.md'), resolve(folder, 'README.md'));
const { SERVICE_CONFIG } = await import(pathToFileURL(resolve(folder, 'lib/client/service-config.js')).href);
writeJson('service_config.json', SERVICE_CONFIG);

mkdirSync(destination, { recursive: true });
const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', destination], { cwd: folder, encoding: 'utf8' });
console.log(resolve(destination, packed.trim()));

function writeJson(name, value) {
  writeFileSync(resolve(folder, name), `${JSON.stringify(value, null, 2)}\n`);
}

export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/nats/'],
  maxWorkers: 3,
  testTimeout: 20_000,
  globalSetup: '<rootDir>/test/pg-global-setup.mjs',
  globalTeardown: '<rootDir>/test/pg-global-teardown.mjs',
  setupFiles: ['<rootDir>/test/pg-setup.mjs'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2024' }, module: { type: 'es6' }, sourceMaps: 'inline' },
    ],
  },
};

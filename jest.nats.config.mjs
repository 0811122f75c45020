// What needs a nats-server on the PATH; `npm test` leaves it out.
import base from './jest.config.mjs';

const { testPathIgnorePatterns: _, ...shared } = base;
export default { ...shared, roots: ['<rootDir>/test/nats'], globalSetup: '<rootDir>/test/nats/require-nats-server.mjs' };

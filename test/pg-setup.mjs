// Every worker has a database of its own, whatever DATABASE_URL the developer's shell names.
const url = new URL(process.env.PAYSTATE_TEST_ADMIN_URL);
url.pathname = `/w${process.env.JEST_WORKER_ID ?? '1'}`;
process.env.DATABASE_URL = url.href;

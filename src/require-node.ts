const NEEDED = [22, 17] as const;

/** Ends the process with EX_CONFIG on a Node that the service does not run on. Imports nothing, so that it can run first. */
export function requireNode(version = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  if (major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1])) return;
  process.stderr.write(
    `Node >= ${NEEDED.join('.')} required, running v${version}; start with "npm start" so that node_modules/.bin/node is used\n`,
  );
  process.exit(78);
}

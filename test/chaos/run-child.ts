/** A run in a process of its own, ended by hand: one that ends by itself now and then spins for ever while Node closes its handles. */
import { runChaos, type ChaosOptions } from './chaos.js';

process.once('message', (options: ChaosOptions) => {
  void runChaos(options).then((report) => process.send?.(report, () => process.exit(0)));
});
// A test that is gone leaves no run behind.
process.on('disconnect', () => process.exit(1));

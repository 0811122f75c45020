/**
 * Faults that other feeds have, to see whether the soak sees them: a service that is started with `--import` of this file loses some
 * events on their way to its watchers, or hands out cursors that lie a little behind, as SOAK_FAULTS says.
 */
import { Cursors } from '../../src/feed/cursor.js';
import { Ring } from '../../src/feed/ring.js';

export const PLANTED_FAULTS = ['events-lost', 'cursors-behind'] as const;
export type PlantedFault = (typeof PLANTED_FAULTS)[number];

const PLANT: Record<PlantedFault, () => void> = {
  'events-lost'() {
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { after } = Ring.prototype;
    Ring.prototype.after = function (this: Ring, rev, max) {
      const events = after.call(this, rev, max);
      return events.length < 2 ? events : events.filter(({ revision }, at) => at === events.length - 1 || revision % 20n !== 0n);
    };
  },
  'cursors-behind'() {
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { seal } = Cursors.prototype;
    Cursors.prototype.seal = function (this: Cursors, cursor) {
      const { position } = cursor;
      return seal.call(this, position.rev < 5n ? cursor : { ...cursor, position: { ...position, rev: position.rev - 5n } });
    };
  },
};

const wanted = process.env['SOAK_FAULTS']?.split(',') ?? [];
for (const fault of PLANTED_FAULTS.filter((one) => wanted.includes(one))) PLANT[fault]();

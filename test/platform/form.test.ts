import fc from 'fast-check';
import { hasOneReading, joinedParameters, type Parameters } from '../../src/platform/form.js';

/** Every set of parameters that is joined to this text. */
function readingsOf(text: string, after = ''): [string, string][][] {
  const split = text.indexOf('=');
  const name = text.slice(0, Math.max(split, 0));
  if (split < 1 || name.includes('&') || name <= after) return [];
  const rest = text.slice(split + 1);
  const ends = [...rest.matchAll(/&/g)].map(({ index }) => index);
  const divided = ends.filter((end) => end > 0).flatMap((end) => readingsOf(rest.slice(end + 1), name).map((others): [string, string][] => [[name, rest.slice(0, end)], ...others]));
  return rest === '' ? divided : [[[name, rest]], ...divided];
}

test('of all parameters that are joined to one text at most one set has one reading', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '='), minLength: 1, maxLength: 2 });
  const value = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '&', '='), minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.dictionary(name, value, { minKeys: 1, maxKeys: 4 }), (given) => {
      const readings = readingsOf(joinedParameters(given, []));
      const accepted = readings.filter((reading) => hasOneReading(Object.fromEntries(reading), []));
      expect(accepted.length).toBeLessThanOrEqual(1);
      if (hasOneReading(given, [])) expect(accepted).toEqual([Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1))]);
    }),
    { numRuns: 2_000 },
  );
});

test.each<[Parameters, boolean]>([
  [{ a: '1', b: '2' }, true],
  [{ a: '1&b=2' }, false],
  [{ a: '1&b=2', c: '3' }, false],
  [{ b: '1&a=2' }, true],
  [{ b: '1&b=2' }, true],
  [{ a: '1&b' }, true],
  [{ 'a=1&b': '2' }, false],
  [{ 'a=1': '2' }, false],
  [{ sign: '1&z=2' }, true],
])('%j has one reading: %s', (parameters, expected) => {
  expect(hasOneReading(parameters, ['sign'])).toBe(expected);
});

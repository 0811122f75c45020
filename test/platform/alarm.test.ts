/** What a person hears of, and what nobody needs to. */
import type { Logger } from '../../src/logger.js';
import type { PlatformAdapter } from '../../src/payment/platform.js';
import { alarming } from '../../src/platform/alarm.js';

const AT = new Date('2026-01-01T00:00:00Z');
const CALL = { at: AT, signal: AbortSignal.timeout(5_000) };
const failure = { code: 'X', message: 'said' };
const report = (change: object): object => ({ status: 'SUBMITTED', retry: null, amount: null, platformRefundId: null, at: AT, word: 'W', failure: null, notExecuted: false, ...change });
const evidence = (kind: string): object => ({ class: kind, at: AT, word: 'W' });

test.each<[string, keyof PlatformAdapter, object, string[]]>([
  ['an order that was placed', 'create', { kind: 'ACCEPTED' }, []],
  ['an order that was refused', 'create', { kind: 'REJECTED', meaning: 'FINAL', ...failure }, []],
  ['a fault of ours', 'create', { kind: 'MISCONFIGURED', ...failure }, ['refused a call for a fault of ours']],
  ['a fault of ours, in a query', 'query', { kind: 'MISCONFIGURED', ...failure }, ['refused a call for a fault of ours']],
  ['a call without an answer', 'close', { kind: 'UNKNOWN', ...failure }, []],
  ['a refusal that nobody has mapped', 'close', { kind: 'UNKNOWN', unmapped: true, ...failure }, ['a word that has no mapping']],
  ['a word that nobody has mapped', 'query', { kind: 'ACCEPTED', value: { evidence: evidence('UNMAPPED') } }, ['a word that has no mapping']],
  ['a word that is mapped', 'query', { kind: 'ACCEPTED', value: { evidence: evidence('AWAITING_BUYER') } }, []],
  ['a refund that was taken', 'refund', report({}), []],
  ['a refund in doubt', 'refund', report({ status: 'UNKNOWN', failure }), []],
  ['a refund for which there is no money', 'refund', report({ status: 'UNCHANGED', retry: 'SAME_NUMBER', failure }), ['did not take a refund']],
  ['a refund that failed', 'refund', report({ status: 'FAILED', retry: 'NEW_NUMBER', failure }), ['did not take a refund']],
  ['a word about a refund that nobody has mapped', 'queryRefund', report({ status: 'UNKNOWN', unmapped: true }), ['a word that has no mapping']],
  ['a notification of one', 'readNotification', { verified: true, evidence: evidence('UNMAPPED'), refund: null }, ['a word that has no mapping']],
  ['a notification of one about a refund', 'readNotification', { verified: true, evidence: null, refund: { report: report({ unmapped: true }) } }, ['a word that has no mapping']],
  ['a notification that proves nothing', 'readNotification', { verified: false, why: 'x' }, []],
])('%s (%s)', async (_what, operation, answer, sentences) => {
  const heard: string[] = [];
  const log = { warn: (_fields: object, sentence: string) => heard.push(sentence) } as unknown as Logger;
  const guarded = alarming({ platform: 'ALIPAY', merchantAccount: 'a', [operation]: () => (operation === 'readNotification' ? answer : Promise.resolve(answer)) } as unknown as PlatformAdapter, log);
  const { [operation]: call } = guarded as unknown as Record<string, (what: object, call: object) => unknown>;
  expect(await call!({}, CALL)).toBe(answer);
  expect(heard).toEqual(sentences.map((sentence) => expect.stringContaining(sentence) as unknown));
});

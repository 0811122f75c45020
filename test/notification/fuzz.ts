/**
 * Mutated notifications through the real entrance of the real service. Whatever is not word for word what the platform signed must be
 * answered and refused, and must change nothing; genuine ones among them must be taken and applied, or the rest would prove nothing.
 */
import type { TestApp } from '../support/app.js';
import type { Simulators } from '../../src/simulator/simulators.js';
import { gatherCorpus, type Control, type Corpus } from './corpus.js';
import { EntranceConnection, type Answer } from './entrance-connection.js';
import type { Input } from './input.js';
import { Random } from './random.js';
import { openRecords, type Records } from './records.js';
import { targetOf, type Target, type TargetName } from './targets.js';

export interface Stage {
  /** With nothing that would change a payment by itself, and simulators that cannot reach its entrance. */
  readonly app: TestApp;
  readonly simulators: Simulators;
  now(): Date;
}

export interface FuzzOptions {
  readonly count: number;
  readonly seed: number;
  /** Mutated inputs for each genuine one; default 1,000. */
  readonly perControl?: number;
  /** Default 32. */
  readonly connections?: number;
  /** Before each input; a test moves its clock on. */
  readonly onInput?: () => void;
}

export interface Finding {
  readonly kind: 'accepted' | 'crash' | 'refused though genuine';
  /** Of the input under the seed; null for what cannot be laid to one input. */
  readonly index: number | null;
  readonly mutators: readonly string[];
  readonly input: Input | null;
  readonly said: string;
}

export interface Report {
  readonly platform: TargetName;
  readonly seed: number;
  readonly seconds: number;
  readonly tried: number;
  readonly byMutator: ReadonlyMap<string, number>;
  readonly accepted: number;
  readonly crashes: number;
  readonly controls: number;
  readonly controlsApplied: number;
  /** Not proven, by the entrance's own count, and by its answers. */
  readonly refused: bigint;
  /** Answered before anything was verified, as what is too long or no HTTP. */
  readonly turnedAway: number;
  /** Of the refused ones. */
  readonly quarantined: bigint;
  /** What was found in the answers, the first of many. */
  readonly findings: readonly Finding[];
  /** What was found in the records afterwards. */
  readonly faults: readonly string[];
}

export const isClean = ({ accepted, crashes, controls, controlsApplied, findings, faults }: Report): boolean =>
  accepted === 0 && crashes === 0 && controls > 0 && controlsApplied === controls && findings.length === 0 && faults.length === 0;

/** Signatures with a time in them stay fresh for five minutes; a round is over long before. */
const ROUND = 10_000;
const FINDINGS_MAX = 20;

export async function fuzz(stage: Stage, name: TargetName, options: FuzzOptions): Promise<Report> {
  await using records = await openRecords(stage.app);
  const run = new Run(stage, targetOf(name, stage.simulators), records, options);
  const watched = watchProcess((error) => run.find({ kind: 'crash', index: null, mutators: [], input: null, said: `the process: ${String(error)}` }));
  try {
    const began = performance.now();
    for (let first = 0; first < options.count; first += ROUND) await run.round(first, Math.min(options.count, first + ROUND));
    return run.report((performance.now() - began) / 1_000);
  } finally {
    watched.stop();
  }
}

interface Drawn {
  readonly input: Input;
  readonly mutators: readonly string[];
}

class Run {
  private readonly counts = { tried: 0, accepted: 0, crashes: 0, controls: 0, controlsApplied: 0, refused: 0n, turnedAway: 0, quarantined: 0n };
  private readonly byMutator = new Map<string, number>();
  private readonly findings: Finding[] = [];
  private readonly faults: string[] = [];

  constructor(
    private readonly stage: Stage,
    private readonly target: Target,
    private readonly records: Records,
    private readonly options: FuzzOptions,
  ) {}

  report(seconds: number): Report {
    const { byMutator, findings, faults } = this;
    return { platform: this.target.name, seed: this.options.seed, seconds, ...this.counts, byMutator, findings, faults };
  }

  find(finding: Finding): void {
    if (finding.kind === 'accepted') this.counts.accepted += 1;
    if (finding.kind === 'crash') this.counts.crashes += 1;
    if (this.findings.length < FINDINGS_MAX) this.findings.push(finding);
  }

  async round(first: number, end: number): Promise<void> {
    const perControl = this.options.perControl ?? 1_000;
    const corpus = await this.gather(Math.max(1, Math.floor((end - first) / perControl)));
    const before = await this.records.read();

    const known = new Set(corpus.genuine.map((input) => this.target.meaningOf(input)));
    const applied: Control[] = [];
    const controls = [...corpus.controls];
    const spacing = Math.floor((end - first) / controls.length);
    const seen = { refused: 0 };
    let next = first;
    await this.onConnections(async (connection) => {
      for (let index = next++; index < end; index = next++) {
        this.options.onInput?.();
        if ((index - first) % spacing === spacing >> 1) await this.control(connection, controls.shift(), applied);
        await this.mutant(connection, { index, drawn: this.draw(index, corpus, known), seen });
      }
    });

    await this.compare(before, { refused: seen.refused, applied });
  }

  private async gather(controls: number): Promise<Corpus> {
    const connection = this.connect();
    const send = async (input: Input): Promise<boolean> => this.isTaken(await connection.post(input));
    try {
      return await gatherCorpus({ app: this.stage.app, target: this.target, send, now: () => this.stage.now() }, { controls });
    } finally {
      connection.close();
    }
  }

  /** Something that no genuine notification says; drawn again until it is. */
  private draw(index: number, corpus: Corpus, known: ReadonlySet<string | null>): Drawn {
    const random = new Random(this.options.seed, index);
    for (let attempt = 0; attempt < DRAWS_MAX; attempt += 1) {
      const drawn = this.mutated(random, corpus);
      if (drawn === null) continue;
      const meaning = this.target.meaningOf(drawn.input);
      if (meaning === null || !known.has(meaning)) return drawn;
    }
    throw new Error(`input ${index} of seed ${this.options.seed} would not become anything but genuine`);
  }

  private mutated(random: Random, corpus: Corpus): Drawn | null {
    const { mutators } = this.target;
    const first = pickWeighted(mutators, random);
    const once = first.mutate(random.pick(corpus.genuine), random, corpus);
    if (once === null || first.alone === true || !random.chance(COMBINED_SHARE)) return once === null ? null : { input: once, mutators: [first.name] };

    const second = pickWeighted(mutators, random);
    const twice = second.alone === true ? null : second.mutate(once, random, corpus);
    return twice === null ? { input: once, mutators: [first.name] } : { input: twice, mutators: [first.name, second.name] };
  }

  private async mutant(connection: EntranceConnection, { index, drawn, seen }: { index: number; drawn: Drawn; seen: { refused: number } }): Promise<void> {
    const answer = await connection.post(drawn.input);
    this.counts.tried += 1;
    const [name] = drawn.mutators;
    this.byMutator.set(name!, (this.byMutator.get(name!) ?? 0) + 1);

    const { refused } = this.replies;
    const finding = { index, ...drawn, said: answer === null ? 'no answer' : `${answer.status} ${answer.body.slice(0, 80)}` };
    // A platform may take more than the exact acknowledgement for one, such as a redirect.
    if (answer === null || answer.status >= 500) this.find({ kind: 'crash', ...finding });
    else if (answer.status < 400) this.find({ kind: 'accepted', ...finding });
    else if (answer.status === refused.status && answer.body === refused.body) seen.refused += 1;
    else this.counts.turnedAway += 1;
  }

  private async control(connection: EntranceConnection, control: Control | undefined, applied: Control[]): Promise<void> {
    if (control === undefined) return;
    this.counts.controls += 1;
    const input = control.input(this.stage.now());
    const answer = await connection.post(input);
    if (this.isTaken(answer)) applied.push(control);
    else this.find({ kind: 'refused though genuine', index: null, mutators: [], input, said: answer === null ? 'no answer' : `${answer.status} ${answer.body}` });
  }

  /** What the store holds, and what the service says of itself, must be explained by the controls alone. */
  private async compare(before: Awaited<ReturnType<Records['read']>>, { refused, applied }: { refused: number; applied: readonly Control[] }): Promise<void> {
    const after = await this.records.read();
    const ours = new Set(applied.map(({ paymentId }) => paymentId));
    for (const [id, state] of after.states) {
      if (!ours.has(id) && before.states.get(id) !== state) this.faults.push(`${id} was ${before.states.get(id) ?? 'not there'} and is ${state}`);
    }
    for (const id of ours) {
      if (after.states.get(id)?.startsWith('SUCCEEDED ') === true) this.counts.controlsApplied += 1;
      else this.faults.push(`payment ${id} was told to be paid and is ${after.states.get(id)}`);
    }

    this.counts.refused += after.refused - before.refused;
    this.counts.quarantined += after.quarantined - before.quarantined;
    const same = (what: string, found: bigint, expected: bigint): void => void (found === expected || this.faults.push(`${what}: ${found} instead of ${expected}`));
    same('refused by the count of the entrance', after.refused - before.refused, BigInt(refused));
    same('deliveries of verified notifications', after.verified - before.verified, BigInt(applied.length));
    same('deliveries in the quarantine', after.inQuarantine - before.inQuarantine, after.quarantined - before.quarantined);
  }

  private get replies() {
    return this.stage.app.app.deps.platforms.adapter(this.target.platform, this.target.name).replies;
  }

  private isTaken(answer: Answer | null): boolean {
    const { stored } = this.replies;
    return answer !== null && answer.status === stored.status && answer.body === stored.body;
  }

  private async onConnections(work: (connection: EntranceConnection) => Promise<void>): Promise<void> {
    await Promise.all(
      Array.from({ length: this.options.connections ?? 32 }, async () => {
        const connection = this.connect();
        try {
          await work(connection);
        } finally {
          connection.close();
        }
      }),
    );
  }

  private connect(): EntranceConnection {
    const { name } = this.target;
    return new EntranceConnection({ host: '127.0.0.1', port: this.stage.app.app.notificationPort, path: `/notifications/${name}/${name}` });
  }
}

const DRAWS_MAX = 100;
const COMBINED_SHARE = 0.15;

function pickWeighted<T extends { readonly weight: number }>(choices: readonly T[], random: Random): T {
  let left = random.next() * choices.reduce((sum, { weight }) => sum + weight, 0);
  for (const choice of choices) {
    left -= choice.weight;
    if (left < 0) return choice;
  }
  return choices.at(-1)!;
}

/** The service shares this process: what it leaves unhandled would have ended it. */
function watchProcess(report: (error: unknown) => void): { stop(): void } {
  process.on('unhandledRejection', report);
  process.on('uncaughtException', report);
  return {
    stop() {
      process.off('unhandledRejection', report);
      process.off('uncaughtException', report);
    },
  };
}

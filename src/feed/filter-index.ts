/**
 * Which watches an event concerns. Watches that ask the same form a group; an index by the most selective field of its filter finds the
 * groups of an event, so that ten thousand watches of one payment each cost an event no more than one of them does.
 */
import type { FeedEvent } from './event.js';
import { predicateOf, type FeedFilter, type Predicate } from './filter.js';
import type { Batch } from './batches.js';

/** What is the same for all watches of a group, so that they can share their messages. */
export interface Shape {
  readonly filter: FeedFilter;
  readonly view: 'KEYS' | 'STATUS' | 'FULL';
  readonly eventsPerMessageMax: number;
}

export interface Member {
  /** Something that it waits for has come. */
  ring(): void;
}

export class Group {
  readonly members = new Set<Member>();
  readonly matches: Predicate;
  /** Messages that were made for it, by the revision that they follow. */
  readonly batches = new Map<bigint, Batch | Promise<Batch>>();
  /** The newest revision that matched, of those that came after `since`. */
  lastHit = 0n;

  constructor(
    readonly key: string,
    readonly shape: Shape,
    /** Everything after this revision has been held against the filter. */
    public since: bigint,
  ) {
    this.matches = predicateOf(shape.filter);
  }
}

/** Most selective first; a group is found by the first of these that its filter names. */
const FIELDS = [
  ['paymentIds', (event: FeedEvent) => [event.paymentId]],
  ['orderIds', (event: FeedEvent) => [event.orderId]],
  ['userIds', (event: FeedEvent) => [event.userId]],
  ['appIds', (event: FeedEvent) => [event.appId]],
  ['platforms', (event: FeedEvent) => [event.platform]],
  ['statuses', (event: FeedEvent) => [event.status, ...(event.previousStatus === null ? [] : [event.previousStatus])]],
] as const satisfies readonly (readonly [keyof FeedFilter, (event: FeedEvent) => readonly string[]])[];

export class FilterIndex {
  private readonly groups = new Map<string, Group>();
  private readonly unfiltered = new Set<Group>();
  private readonly byValue = FIELDS.map(([field, valuesOf]) => ({ field, valuesOf, groups: new Map<string, Set<Group>>() }));

  /** `rev`: everything up to it was held against every group that was there. */
  constructor(private rev: bigint) {}

  join(shape: Shape, member: Member): Group {
    const key = JSON.stringify(shape);
    let group = this.groups.get(key);
    if (group === undefined) {
      group = new Group(key, shape, this.rev);
      this.groups.set(key, group);
      for (const groups of this.placesOf(group)) groups.add(group);
    }
    group.members.add(member);
    return group;
  }

  leave(group: Group, member: Member): void {
    group.members.delete(member);
    if (group.members.size > 0) return;
    this.groups.delete(group.key);
    group.batches.clear();
    for (const groups of this.placesOf(group)) groups.delete(group);
    const place = this.placeOf(group);
    for (const value of place?.values ?? []) if (place!.groups.get(value)?.size === 0) place!.groups.delete(value);
  }

  /** Holds new events against all groups and wakes the members of those that they concern. */
  see(events: readonly FeedEvent[]): void {
    const hit = new Set<Group>();
    for (const event of events) {
      for (const group of this.candidates(event)) {
        if (!group.matches(event)) continue;
        group.lastHit = event.revision;
        hit.add(group);
      }
    }
    this.rev = events.at(-1)?.revision ?? this.rev;
    for (const group of hit) for (const member of group.members) member.ring();
  }

  /** How far a member of the group can go from a revision without meeting a match; null where that is not known. */
  clearUpTo({ since, lastHit }: Group, rev: bigint): bigint | null {
    return rev >= since && rev >= lastHit && rev < this.rev ? this.rev : null;
  }

  /** The history changed, or a part of it was skipped: nothing up to this revision is known. */
  reset(rev: bigint): void {
    this.rev = rev;
    for (const group of this.groups.values()) {
      group.since = rev;
      group.lastHit = 0n;
      group.batches.clear();
    }
  }

  private *candidates(event: FeedEvent): Iterable<Group> {
    yield* this.unfiltered;
    for (const { valuesOf, groups } of this.byValue) {
      if (groups.size === 0) continue;
      for (const value of valuesOf(event)) yield* groups.get(value) ?? [];
    }
  }

  private placeOf({ shape: { filter } }: Group) {
    const place = this.byValue.find(({ field }) => filter[field].length > 0);
    return place === undefined ? undefined : { groups: place.groups, values: filter[place.field] as readonly string[] };
  }

  private placesOf(group: Group): Set<Group>[] {
    const place = this.placeOf(group);
    if (place === undefined) return [this.unfiltered];
    return place.values.map((value) => {
      const groups = place.groups.get(value) ?? new Set();
      place.groups.set(value, groups);
      return groups;
    });
  }
}

/**
 * What things are called in JetStream. Each epoch has a stream of its own, and its subjects say so, because two streams may not claim the
 * same subject: who still believes in an old epoch can only publish into the old stream.
 */
import type { FeedEvent } from '../event.js';

export interface Place {
  readonly shard: number;
  readonly epoch: number;
}

export const streamName = ({ shard, epoch }: Place): string => `PAYFEED_${shard}_e${epoch}`;

export const subjectsOf = ({ shard, epoch }: Place): string => `payfeed.${shard}.e${epoch}.>`;

export function subjectOf({ shard, epoch, platform, appId, status }: FeedEvent): string {
  return `payfeed.${shard}.e${epoch}.${token(platform)}.${token(appId)}.${token(status)}`;
}

/** The same whoever publishes the revision, so that JetStream knows a repeated one. */
export const messageId = (feedId: number, { shard, epoch }: Place, rev: bigint): string => `${feedId}-${epoch}-${shard}-${rev}`;

/** A subject's token may not be empty nor hold dots, wildcards, blanks; other bytes are written as in a URL. */
function token(text: string): string {
  return text === '' ? '%' : encodeURIComponent(text).replace(/[.*!'()~]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

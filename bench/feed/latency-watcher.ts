/** A watcher with a heap and an event loop of its own, so that the pauses of whoever makes the load are not measured as the feed's. */
import { parentPort, workerData } from 'node:worker_threads';
import { WatchPaymentsRequest, WatchView } from '../../src/gen/payment/v1/payment_service.js';
import { decoded, openWatches } from './watches.js';

export interface WatcherTask {
  readonly address: string;
  readonly appId: string;
  readonly changes: number;
}

const { address, appId, changes } = workerData as WatcherTask;
const request = WatchPaymentsRequest.fromPartial({ view: WatchView.WATCH_VIEW_STATUS, filter: { appIds: [appId] } });
/** When each event was heard. */
const heard = new Map<string, number>();
const watches = openWatches(address, 1, () => request, (_at, bytes) => {
  const at = performance.timeOrigin + performance.now();
  const { kind } = decoded(bytes);
  if (kind?.$case !== 'events') return;
  for (const { eventId } of kind.value.events) heard.set(eventId, at);
  if (heard.size < changes) return;
  parentPort!.postMessage(heard);
  watches.close();
});
await watches.open;
parentPort!.postMessage('open');

import type { FilterQuery } from '@mikro-orm/postgresql';
import type { Deps } from '../payment/deps.js';
import type { PlatformName } from '../payment/platform.js';
import { Notification, type NotificationStatus } from './notification.js';

export interface NotificationFilter {
  readonly platform: PlatformName | null;
  readonly status: NotificationStatus | null;
  readonly merchantOrderNo: string | null;
}

/** What came in, newest first; `before` is the last id of the page before. */
export async function listNotifications(
  deps: Pick<Deps, 'orm'>,
  { platform, status, merchantOrderNo }: NotificationFilter,
  page: { size: number; before: string | null },
): Promise<{ notifications: Notification[]; next: string | null }> {
  const where: FilterQuery<Notification> = {
    ...(platform === null ? {} : { platform }),
    ...(status === null ? {} : { status }),
    ...(merchantOrderNo === null ? {} : { merchantOrderNo }),
    ...(page.before === null ? {} : { id: { $lt: page.before } }),
  };
  // Their bodies, up to 64 KiB each, stay where they are.
  const found = await deps.orm.em.fork().find(Notification, where, { orderBy: { id: 'desc' }, limit: page.size + 1, exclude: ['body', 'headers'] });
  const notifications = found.slice(0, page.size) as Notification[];
  return { notifications, next: found.length > page.size ? notifications.at(-1)!.id : null };
}

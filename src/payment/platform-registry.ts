import { DomainError } from './errors.js';
import type { PlatformAdapter, PlatformName } from './platform.js';

/** A merchant account, and the applications whose payments go to it unless they name another; empty: every application's. */
export interface PlatformAccount {
  readonly adapter: PlatformAdapter;
  readonly apps: readonly string[];
}

/** The configured adapters, one for each merchant account. */
export class PlatformRegistry {
  private readonly adapters: readonly PlatformAdapter[];

  constructor(private readonly accounts: readonly PlatformAccount[]) {
    this.adapters = accounts.map(({ adapter }) => adapter);
  }

  /** PLATFORM_NOT_CONFIGURED when there is no such account. */
  adapter(platform: PlatformName, merchantAccount: string): PlatformAdapter {
    const adapter = this.find(platform, merchantAccount);
    if (adapter !== undefined) return adapter;
    throw new DomainError('PLATFORM_NOT_CONFIGURED', `no account ${merchantAccount} of ${platform} is configured here`, {
      metadata: { platform, merchant_account: merchantAccount },
    });
  }

  find(platform: PlatformName, merchantAccount: string): PlatformAdapter | undefined {
    return this.adapters.find((one) => one.platform === platform && one.merchantAccount === merchantAccount);
  }

  /**
   * The account for requests that name none: the application's own, else the first that is for every application; the first of all
   * where the request names no application either.
   */
  defaultAccount(platform: PlatformName, appId: string | null): string {
    const accounts = this.accounts.filter(({ adapter }) => adapter.platform === platform);
    const account = appId === null ? accounts[0] : (accounts.find(({ apps }) => apps.includes(appId)) ?? accounts.find(({ apps }) => apps.length === 0));
    if (account !== undefined) return account.adapter.merchantAccount;
    throw new DomainError('PLATFORM_NOT_CONFIGURED', `no account of ${platform}${appId === null ? '' : ` for ${appId}`} is configured here`, { metadata: { platform } });
  }

  all(): readonly PlatformAdapter[] {
    return this.adapters;
  }
}

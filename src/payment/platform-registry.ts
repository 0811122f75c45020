import { DomainError } from './errors.js';
import type { PlatformAdapter, PlatformName } from './platform.js';

/** The configured adapters, one for each merchant account. */
export class PlatformRegistry {
  constructor(private readonly adapters: readonly PlatformAdapter[]) {}

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

  /** The first configured account of a platform, for requests that name none. */
  defaultAccount(platform: PlatformName): string {
    const adapter = this.adapters.find((one) => one.platform === platform);
    if (adapter !== undefined) return adapter.merchantAccount;
    throw new DomainError('PLATFORM_NOT_CONFIGURED', `no account of ${platform} is configured here`, { metadata: { platform } });
  }

  of(platform: PlatformName): readonly PlatformAdapter[] {
    return this.adapters.filter((one) => one.platform === platform);
  }

  all(): readonly PlatformAdapter[] {
    return this.adapters;
  }
}

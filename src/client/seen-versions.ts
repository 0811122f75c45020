/** The newest version of each payment that a watch has delivered, for as many payments as fit: what comes again is known by it. */
export class SeenVersions {
  private readonly versions = new Map<string, number>();

  constructor(private readonly paymentsMax: number) {}

  /** Whether a version is newer than everything delivered of its payment; it counts as delivered from then on. */
  isNews(paymentId: string, version: number): boolean {
    const known = this.versions.get(paymentId);
    if (known !== undefined && version <= known) return false;

    // A map keeps the order of insertion: the first one is the one without news for longest.
    this.versions.delete(paymentId);
    this.versions.set(paymentId, version);
    if (this.versions.size > this.paymentsMax) this.versions.delete(this.versions.keys().next().value!);
    return true;
  }

  forget(): void {
    this.versions.clear();
  }
}

/** Answers that are kept back until a test releases them: an outcome that is decided and not yet known. */
export class Holds {
  private kept: { readonly operation: string; readonly release: () => void }[] = [];
  private expecting: { readonly operation: string; readonly resolve: () => void }[] = [];

  /** Resolves on release. */
  async keep(operation: string): Promise<void> {
    await new Promise<void>((release) => {
      this.kept.push({ operation, release });
      for (const { resolve } of this.expecting.filter((one) => one.operation === operation)) resolve();
      this.expecting = this.expecting.filter((one) => one.operation !== operation);
    });
  }

  /** Resolves once an answer of this operation is kept back. */
  async isHolding(operation: string): Promise<void> {
    if (this.kept.some((one) => one.operation === operation)) return;
    await new Promise<void>((resolve) => this.expecting.push({ operation, resolve }));
  }

  releaseAll(): void {
    for (const { release } of this.kept.splice(0)) release();
  }
}

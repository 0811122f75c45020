/** The latest entries of something that would otherwise grow without end. */
export class BoundedRecord<T> {
  private entries: T[] = [];

  constructor(private readonly entriesMax: number) {}

  add(entry: T): void {
    this.entries.push(entry);
    if (this.entries.length > this.entriesMax * 2) this.entries = this.entries.slice(-this.entriesMax);
  }

  latest(): readonly T[] {
    return this.entries.slice(-this.entriesMax);
  }
}

/** Pauses between attempts, in milliseconds: each twice as long as the one before, up to the longest. */
export class Backoff {
  #first: number;
  #longest: number;
  #failures = 0;

  constructor(first: number, longest: number) {
    this.#first = first;
    this.#longest = longest;
  }

  /** Many clients lose one server at one moment; they shall not come back at one. */
  next(): number {
    const pause = Math.min(this.#first * 2 ** this.#failures, this.#longest);
    this.#failures++;
    return pause * (0.5 + Math.random() / 2);
  }

  /** An attempt succeeded. */
  reset(): void {
    this.#failures = 0;
  }
}

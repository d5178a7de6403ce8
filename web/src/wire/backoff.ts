/** Pauses between attempts, in milliseconds: each is twice as long as the previous one, up to a limit. */
export class Backoff {
  #first: number;
  #longest: number;
  #failures = 0;

  constructor(first: number, longest: number) {
    this.#first = first;
    this.#longest = longest;
  }

  /** Random, because many clients lose a server at the same moment and must not all return at once. */
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

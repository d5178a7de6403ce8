/**
 * Messages on their way to a session. They are kept in the browser until the server has stored them, and
 * sent again under the same id until then: so none is lost by a bad connection or a reload, and none sent twice.
 */

import { type Outgoing, send } from "../wire/api.ts";
import { Backoff } from "../wire/backoff.ts";
import { ServerError } from "../wire/request.ts";
import { serverKnown } from "../wire/server.ts";
import { keep, keptNames, read } from "./kept.ts";
import { Store } from "./store.ts";

/** `error` is why the server refused it. */
export type Waiting = Outgoing & { error?: string };

/** Milliseconds between attempts, which double. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

const PREFIX = "outbox.";

export class Outbox extends Store<Waiting[]> {
  #session: string;
  #name: string;
  #sending = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #backoff = new Backoff(FIRST_PAUSE, LONGEST_PAUSE);

  constructor(session: string) {
    super([]);
    this.#session = session;
    this.#name = `${PREFIX}${session}`;
    addEventListener("online", () => this.flush());
    void serverKnown.then(() => {
      this.set(read(this.#name, []));
      void this.flush();
    });
  }

  /** Only when the server is known: without it the message could not be kept. */
  put(message: Outgoing): void {
    const put = (waiting: Outgoing[]) => [...waiting, message];
    this.set(put(this.value));
    this.#keep(put);
    void this.flush();
  }

  drop(id: string): void {
    const drop = (waiting: Waiting[]) => waiting.filter((message) => message.id !== id);
    this.set(drop(this.value));
    this.#keep(drop);
  }

  /** Try one again that the server refused. */
  again(id: string): void {
    this.set(
      this.value.map(({ error, ...message }) =>
        message.id === id || error === undefined ? message : { ...message, error },
      ),
    );
    void this.flush();
  }

  /** Send what waits, in its order; called when the server may be there again. */
  async flush(): Promise<void> {
    if (this.#sending) return;
    clearTimeout(this.#timer);
    this.#sending = true;
    try {
      let next = this.#next();
      while (next) {
        await this.#deliver(next);
        next = this.#next();
      }
    } catch {
      this.#timer = setTimeout(() => this.flush(), this.#backoff.next());
    } finally {
      this.#sending = false;
    }
  }

  /** Change what is kept; other tabs keep theirs there too. */
  #keep(change: (waiting: Waiting[]) => Waiting[]): void {
    const waiting = change(read(this.#name, []));
    keep(this.#name, waiting.length ? waiting : null);
  }

  #next(): Waiting | undefined {
    return this.value.find((message) => message.error === undefined);
  }

  async #deliver(message: Outgoing): Promise<void> {
    try {
      await send(this.#session, message);
      this.#backoff.reset();
      this.drop(message.id);
    } catch (error) {
      if (!(error instanceof ServerError) || error.passing) throw error;
      this.set(
        this.value.map((other) =>
          other.id === message.id ? { ...other, error: error.message } : other,
        ),
      );
    }
  }
}

const outboxes = new Map<string, Outbox>();

/** The outbox of a session, which goes on when the session is not looked at. */
export function outboxOf(session: string): Outbox {
  const outbox = outboxes.get(session) ?? new Outbox(session);
  outboxes.set(session, outbox);
  return outbox;
}

// What was not sent at the last visit.
void serverKnown.then(() => {
  for (const name of keptNames(PREFIX)) outboxOf(name.slice(PREFIX.length));
});

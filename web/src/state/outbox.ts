/**
 * Messages on their way to a session. The browser keeps them until the server has stored them and sends
 * them again under the same id until then, so a bad connection or a reload loses and repeats nothing.
 */

import { type Outgoing, send } from "../wire/api.ts";
import { Backoff } from "../wire/backoff.ts";
import { ServerError } from "../wire/request.ts";
import { serverKnown } from "../wire/server.ts";
import { keep, keptNames, read } from "./kept.ts";
import { Store } from "./store.ts";

/** `error` is the reason if the server refused the message. */
export type Waiting = Outgoing & { error?: string };

/** Milliseconds between attempts, doubled each time. */
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

  /** Call it only when the server is known, because the message is kept under its name. */
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

  /** Send a message again that the server refused. */
  again(id: string): void {
    this.set(
      this.value.map(({ error, ...message }) =>
        message.id === id || error === undefined ? message : { ...message, error },
      ),
    );
    void this.flush();
  }

  /** Send the messages in order. Call it when the server may be available again. */
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

  /** Change what is kept; it may contain messages of other tabs. */
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

/** The outbox of a session. It sends whether or not the session is open. */
export function outboxOf(session: string): Outbox {
  const outbox = outboxes.get(session) ?? new Outbox(session);
  outboxes.set(session, outbox);
  return outbox;
}

// Send what was not sent during the last visit.
void serverKnown.then(() => {
  for (const name of keptNames(PREFIX)) outboxOf(name.slice(PREFIX.length));
});

/** The open session: its history as far as it was read, updated over its connection. */

import { type MessagePage, readMessages, readSession } from "../wire/api.ts";
import { Connection, type ConnectionStatus } from "../wire/connection.ts";
import { History } from "../wire/fold.ts";
import type { Entry } from "../wire/form.ts";
import { serverKnown, storeId } from "../wire/server.ts";
import type { Frame, HistoryEvent, Message, Session, SessionStatus } from "../wire/types.ts";
import { type Outbox, outboxOf } from "./outbox.ts";
import { markSeen } from "./seen.ts";
import { Store } from "./store.ts";

/** Messages per page: the newest page, earlier pages, and pages read to reach a distant message. */
const FIRST = 50;
const EARLIER = 100;
const MOST = 200;

/** Milliseconds between two renderings of a growing answer: text arrives faster than it is read. */
const PACE = 40;

export type Shown = {
  /** Null until it was read. */
  session: Session | null;
  messages: Message[];
  /** The server has older messages. */
  hasMore: boolean;
  loaded: boolean;
  running: boolean;
  /** The running turn goes on after a restart of the server. */
  continued: boolean;
  connection: ConnectionStatus;
};

export class OpenSession extends Store<Shown> {
  readonly id: string;
  readonly outbox: Outbox;
  /** Which collapsed blocks were opened or closed. Rows lose their state when they are scrolled away. */
  readonly unfolded = new Map<string, boolean>();
  /** What was written into the forms of open questions, by the ids of the questions. */
  readonly written = new Map<string, Entry[]>();
  #history = new History();
  #connection: Connection;
  #last: number | null = null;
  /** Events that arrive while the newest page is read. */
  #meanwhile: HistoryEvent[] | null = null;
  #loading = 0;
  #earlier: Promise<void> | null = null;
  #scheduled = false;
  #publishedAt = 0;
  #next: Partial<Shown> = {};

  constructor(id: string) {
    super({
      session: null,
      messages: [],
      hasMore: false,
      loaded: false,
      running: false,
      continued: false,
      connection: "connecting",
    });
    this.id = id;
    this.outbox = outboxOf(id);
    this.#connection = new Connection(id, {
      take: (frame) => this.#take(frame),
      status: (connection) => this.#connected(connection),
      after: () => this.#last,
    });
    document.addEventListener("visibilitychange", this.#read);
    void serverKnown.then(this.#read);
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#read);
    this.#connection.close();
  }

  /** Connect now. */
  retry(): void {
    this.#connection.retry();
  }

  /** Read the page before the messages read so far. */
  readEarlier(limit = EARLIER): Promise<void> {
    this.#earlier ??= this.#readEarlier(limit).finally(() => {
      this.#earlier = null;
    });
    return this.#earlier;
  }

  /** Read earlier pages until one has the message; false if no message has this id. */
  async find(messageId: string): Promise<boolean> {
    while (!this.#history.get(messageId) && this.#history.floor) await this.readEarlier(MOST);
    return this.#history.get(messageId) !== undefined;
  }

  async #readEarlier(limit: number): Promise<void> {
    const loading = this.#loading;
    const oldest = this.#history.messages[0];
    if (!oldest || !this.#history.floor) return;
    const page = await readMessages(this.id, limit, oldest.id);
    if (loading !== this.#loading) return;
    this.#history.prepend(page.messages, page.hasMore);
    this.#notify(); // before the caller may ask for more
  }

  #connected(connection: ConnectionStatus): void {
    this.#publish({ connection });
    // The next connection may be to another server: read its history instead.
    if (connection !== "open" && storeId() === null) this.#last = null;
    if (connection === "open") void this.outbox.flush();
  }

  #take(frame: Frame): void {
    switch (frame.type) {
      case "hello":
        // A lower number than the last one means that the session was deleted and created again.
        if (this.#last === null || frame.seq < this.#last) void this.#load(frame.seq);
        this.#publish(runs(frame.status));
        break;
      case "session":
        this.#last = frame.seq;
        this.#publish({ session: frame.session });
        break;
      case "message":
      case "delta":
      case "part":
      case "status":
      case "message-parts":
      case "deleted":
        if (frame.seq !== undefined) this.#last = frame.seq;
        if (this.#meanwhile) this.#meanwhile.push(frame);
        else this.#apply(frame);
    }
    // Writing to the browser's storage for every word would be slow.
    if (frame.type !== "delta" && frame.type !== "part") this.#read();
  }

  #apply(event: HistoryEvent): void {
    try {
      this.#history.apply(event);
    } catch (error) {
      this.#last = null; // read the history again
      throw error;
    }
    this.#publish(this.#after(event));
  }

  /** What an event says about the turn that runs. */
  #after(event: HistoryEvent): Partial<Shown> {
    switch (event.type) {
      case "delta":
      case "part":
        return { running: true };
      case "status":
        if (event.status === "queued") return {};
        return { running: true, continued: event.continued === true };
      case "message":
        if (event.message.role === "assistant") {
          return event.message.status === "streaming" ? { running: true } : IDLE;
        }
        // The first message gives the session a title, and not every message starts a turn.
        if (event.message.role === "user") void this.#ask();
        return {};
      case "deleted":
        return event.messageId === undefined ? { session: null, ...IDLE } : {};
      default:
        return {};
    }
  }

  async #ask(): Promise<void> {
    const session = await readSession(this.id).catch(() => null);
    if (!session) return;
    if (session.seq >= (this.value.session?.seq ?? 0)) this.#publish({ session });
    if (session.seq >= (this.#last ?? 0)) this.#publish(runs(session.status));
  }

  /** Read the newest page, then apply the events that arrived meanwhile. */
  async #load(seq: number): Promise<void> {
    const loading = ++this.#loading;
    this.#last = seq;
    this.#meanwhile = [];
    try {
      const page = await readNewest(this.id);
      if (loading !== this.#loading) return;
      const meanwhile = this.#meanwhile ?? [];
      this.#meanwhile = null;
      this.#history.clear();
      this.#history.prepend(page.messages, page.hasMore);
      this.#publish({ loaded: true });
      for (const event of meanwhile) this.#apply(event);
      if (page.messages.length) void this.#ask();
    } catch {
      if (loading !== this.#loading) return;
      this.#last = null;
      this.#meanwhile = null;
      this.#connection.fail();
    }
  }

  #read = () => {
    if (this.#last !== null && document.visibilityState === "visible") {
      markSeen(this.id, this.#last);
    }
  };

  /** Notify subscribers, once for changes in quick succession. */
  #publish(change: Partial<Shown> = {}): void {
    this.#next = { ...this.#next, ...change };
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(this.#notify, Math.max(0, this.#publishedAt + PACE - performance.now()));
  }

  #notify = () => {
    const change = this.#next;
    this.#scheduled = false;
    this.#publishedAt = performance.now();
    this.#next = {};
    this.change({
      ...change,
      messages: this.#history.messages,
      hasMore: this.#history.floor > 0,
    });
  };
}

const IDLE = { running: false, continued: false };

/** What the status of a session says about a turn. */
function runs(status: SessionStatus): Partial<Shown> {
  return status === "running" || status === "waiting" ? { running: true } : IDLE;
}

/** The newest page, and earlier ones until there is a message that is not queued. */
async function readNewest(session: string): Promise<MessagePage> {
  let { messages, hasMore } = await readMessages(session, FIRST);
  while (hasMore && messages.every((message) => message.status === "queued")) {
    const earlier = await readMessages(session, EARLIER, messages[0]?.id);
    messages = [...earlier.messages, ...messages];
    hasMore = earlier.hasMore;
  }
  return { messages, hasMore };
}

/** The session that is looked at: its history as far as it was read, kept up by its socket. */

import { type MessagePage, readMessages, readSession } from "../wire/api.ts";
import { History } from "../wire/fold.ts";
import { serverKnown, storeId } from "../wire/server.ts";
import { type Connection, Socket } from "../wire/socket.ts";
import type { Frame, HistoryEvent, Message, Session } from "../wire/types.ts";
import { type Outbox, outboxOf } from "./outbox.ts";
import { markSeen } from "./seen.ts";
import { Store } from "./store.ts";

/** Messages a page: at first, of those before, and on the way to one that is far away. */
const FIRST = 50;
const EARLIER = 100;
const MOST = 200;

/** Milliseconds between two drawings of an answer that grows: words come faster than they are read. */
const PACE = 40;

export type Shown = {
  /** Null until it was asked for. */
  session: Session | null;
  messages: Message[];
  /** There are older ones on the server. */
  hasMore: boolean;
  loaded: boolean;
  running: boolean;
  connection: Connection;
};

export class OpenSession extends Store<Shown> {
  readonly id: string;
  readonly outbox: Outbox;
  /** Which collapsed blocks were opened or closed; rows that are scrolled away forget it. */
  readonly unfolded = new Map<string, boolean>();
  #history = new History();
  #socket: Socket;
  #last: number | null = null;
  /** Events that come while the newest page is read. */
  #meanwhile: HistoryEvent[] | null = null;
  #loading = 0;
  #earlier: Promise<void> | null = null;
  #scheduled = false;
  #toldAt = 0;
  #next: Partial<Shown> = {};

  constructor(id: string) {
    super({
      session: null,
      messages: [],
      hasMore: false,
      loaded: false,
      running: false,
      connection: "connecting",
    });
    this.id = id;
    this.outbox = outboxOf(id);
    this.#socket = new Socket(id, {
      take: (frame) => this.#take(frame),
      state: (connection) => this.#connected(connection),
      after: () => this.#last,
    });
    document.addEventListener("visibilitychange", this.#read);
    void serverKnown.then(this.#read);
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#read);
    this.#socket.close();
  }

  /** Try to connect at once. */
  retry(): void {
    this.#socket.retry();
  }

  /** Read the page of messages before those that are there. */
  readEarlier(limit = EARLIER): Promise<void> {
    this.#earlier ??= this.#readEarlier(limit).finally(() => {
      this.#earlier = null;
    });
    return this.#earlier;
  }

  /** Read back until a message is there; false if there is none of that id. */
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
    this.#tell(); // before whoever waits for it may ask for more
  }

  #connected(connection: Connection): void {
    this.#publish({ connection });
    // What was read may be of another server than the next one, and neither is known.
    if (connection === "waiting" && storeId() === null) this.#last = null;
    if (connection === "open") void this.outbox.flush();
  }

  #take(frame: Frame): void {
    switch (frame.type) {
      case "hello":
        // With a lower number than ours it is another session of this name.
        if (this.#last === null || frame.seq < this.#last) void this.#load(frame.seq);
        this.#publish({ running: frame.status === "running" });
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
    // What is written to be kept must not be so for every word.
    if (frame.type !== "delta" && frame.type !== "part") this.#read();
  }

  #apply(event: HistoryEvent): void {
    try {
      this.#history.apply(event);
    } catch (error) {
      this.#last = null; // the history is read anew
      throw error;
    }
    const running = this.#runningAfter(event);
    this.#publish(running === undefined ? {} : { running });
  }

  /** Whether a turn runs, as far as an event tells. */
  #runningAfter(event: HistoryEvent): boolean | undefined {
    switch (event.type) {
      case "delta":
      case "part":
        return true;
      case "status":
        return event.status === "running" || undefined;
      case "message":
        if (event.message.role === "assistant") return event.message.status === "streaming";
        // A message begins a turn, unless it was stored without one: only the session knows.
        if (event.message.role === "user") void this.#ask();
        return undefined;
      case "deleted":
        if (event.messageId !== undefined) return undefined;
        this.#publish({ session: null });
        return false;
      default:
        return undefined;
    }
  }

  async #ask(): Promise<void> {
    const session = await readSession(this.id).catch(() => null);
    if (!session) return;
    if (session.seq >= (this.value.session?.seq ?? 0)) this.#publish({ session });
    if (session.seq >= (this.#last ?? 0)) this.#publish({ running: session.status === "running" });
  }

  /** Read the newest page; what happens meanwhile is applied to it. */
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
      this.#socket.fail();
    }
  }

  #read = () => {
    if (this.#last !== null && document.visibilityState === "visible") {
      markSeen(this.id, this.#last);
    }
  };

  /** Tell those who watch; what comes in quick succession together. */
  #publish(change: Partial<Shown> = {}): void {
    this.#next = { ...this.#next, ...change };
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(this.#tell, Math.max(0, this.#toldAt + PACE - performance.now()));
  }

  #tell = () => {
    const change = this.#next;
    this.#scheduled = false;
    this.#toldAt = performance.now();
    this.#next = {};
    this.change({
      ...change,
      messages: this.#history.messages,
      hasMore: this.#history.floor > 0,
    });
  };
}

/** The newest messages, and of those before as many as it takes to have one that is not queued. */
async function readNewest(session: string): Promise<MessagePage> {
  let { messages, hasMore } = await readMessages(session, FIRST);
  while (hasMore && messages.every((message) => message.status === "queued")) {
    const earlier = await readMessages(session, EARLIER, messages[0]?.id);
    messages = [...earlier.messages, ...messages];
    hasMore = earlier.hasMore;
  }
  return { messages, hasMore };
}

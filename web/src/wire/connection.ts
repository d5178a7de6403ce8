/**
 * A session's connection: a WebSocket or, where the network lets none through, server-sent events.
 * It reconnects by itself and continues after the last event it received.
 */

import { Backoff } from "./backoff.ts";
import type { Channel } from "./channel.ts";
import type { ServerError } from "./request.ts";
import { doubtServer, ensureServer } from "./server.ts";
import type { Frame } from "./types.ts";
import { OPEN, socketPause, socketRefused, socketWorks, type Way } from "./ways.ts";

/** `blocked`: the server answers, but neither way to its events works. */
export type ConnectionStatus = "connecting" | "open" | "waiting" | "offline" | "blocked";

/** Milliseconds between attempts, doubled each time. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 8_000;
/** Milliseconds until a WebSocket's first frame; until the answer to a ping where there is doubt; of
 * silence before a ping; until any other answer. */
const OPENING = 4_000;
const DOUBT = 2_000;
const SILENCE = 25_000;
const PATIENCE = 10_000;

type Listener = {
  /** If it throws, the connection is closed and opened again. */
  take(frame: Frame): void;
  status(status: ConnectionStatus): void;
  /** The number of the last event received; null for new events only. */
  after(): number | null;
};

export class Connection {
  #session: string;
  #listener: Listener;
  #channel: Channel | null = null;
  #way: Way = "socket";
  #greeted = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Tries a WebSocket while a stream is open. */
  #trial: Channel | null = null;
  #trialTimer: ReturnType<typeof setTimeout> | undefined;
  #backoff = new Backoff(FIRST_PAUSE, LONGEST_PAUSE);
  /** The way that led to no `hello` at the last attempt. */
  #failed: Way | null = null;
  #blocked = false;
  #closed = false;
  /** Changes whenever an attempt to connect begins or is abandoned. */
  #attempt = 0;

  constructor(session: string, listener: Listener) {
    this.#session = session;
    this.#listener = listener;
    addEventListener("online", this.#online);
    addEventListener("offline", this.#offline);
    document.addEventListener("visibilitychange", this.#seen);
    void this.#connect();
  }

  close(): void {
    this.#closed = true;
    removeEventListener("online", this.#online);
    removeEventListener("offline", this.#offline);
    document.removeEventListener("visibilitychange", this.#seen);
    this.#leave();
  }

  /** Connect now instead of after the pause. */
  retry(): void {
    if (!this.#closed && this.#channel === null) void this.#connect();
  }

  /** Close the connection; it is opened again after a pause. */
  fail(): void {
    if (this.#channel) this.#lost();
  }

  async #connect(): Promise<void> {
    this.#leave();
    this.#listener.status(this.#blocked ? "blocked" : "connecting");
    const attempt = this.#attempt;
    const isSame = await ensureServer().then(
      () => true,
      () => false,
    );
    if (attempt !== this.#attempt) return;
    // The server answers, so it was the way that failed.
    if (isSame && this.#failed === "socket") socketRefused();
    this.#blocked = isSame && this.#failed === "stream";
    this.#failed = null;
    if (isSame) this.#open(socketPause() ? "stream" : "socket");
    else this.#wait();
  }

  #open(way: Way): void {
    // Browsers open few streams to a server at a time, so a tab that nobody sees has none.
    if (way === "stream" && document.visibilityState !== "visible") return;
    this.#way = way;
    this.#greeted = false;
    const attempt = this.#attempt;
    const current = (act: () => void) => {
      if (attempt === this.#attempt) act();
    };
    this.#channel = OPEN[way](this.#session, this.#listener.after(), {
      alive: () => current(() => this.#watch(this.#greeted ? SILENCE : PATIENCE)),
      frame: (frame) => current(() => this.#take(frame)),
      lost: (refusal) => current(() => this.#lost(refusal)),
    });
    this.#watch(way === "socket" ? OPENING : PATIENCE);
  }

  #take(frame: Frame): void {
    if (frame.type === "hello") this.#greet();
    try {
      if (frame.type !== "pong") this.#listener.take(frame);
    } catch (error) {
      console.warn("the connection is opened again:", error);
      this.#lost();
    }
  }

  #greet(): void {
    this.#greeted = true;
    this.#blocked = false;
    this.#backoff.reset();
    this.#watch(SILENCE);
    if (this.#way === "socket") socketWorks();
    else this.#planTrial();
    this.#listener.status("open");
  }

  #lost(refusal?: ServerError): void {
    if (!this.#greeted && !refusal?.own) this.#failed = this.#way;
    this.#leave();
    doubtServer();
    this.#wait();
  }

  /** Connect after a pause. The browser may be wrong about being offline, so that stops nothing. */
  #wait(): void {
    this.#listener.status(this.#blocked ? "blocked" : navigator.onLine ? "waiting" : "offline");
    this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  #leave(): void {
    clearTimeout(this.#timer);
    this.#attempt++;
    this.#channel?.close();
    this.#channel = null;
    this.#endTrial();
  }

  /** A dead connection is silent: after a while, send a ping; without an answer, reconnect. */
  #watch(patience: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (patience === SILENCE && this.#channel?.ping()) this.#watch(PATIENCE);
      else this.#lost();
    }, patience);
  }

  /** Find out soon whether the connection still works. */
  #check(): void {
    if (!this.#channel || !this.#greeted) return;
    if (this.#channel.ping()) this.#watch(DOUBT);
    else void this.#connect();
  }

  #planTrial(): void {
    this.#endTrial();
    this.#trialTimer = setTimeout(() => this.#try(), socketPause());
  }

  /** Try a WebSocket; the stream goes on until one has opened. */
  #try(): void {
    const failed = () => {
      socketRefused();
      this.#planTrial();
    };
    this.#trialTimer = setTimeout(failed, PATIENCE);
    this.#trial = OPEN.socket(this.#session, null, {
      alive: () => undefined,
      frame: () => {
        socketWorks();
        this.#leave();
        this.#open("socket");
      },
      lost: failed,
    });
  }

  #endTrial(): void {
    clearTimeout(this.#trialTimer);
    this.#trial?.close();
    this.#trial = null;
  }

  /** It may be another network. */
  #online = () => {
    socketWorks();
    if (this.#channel && this.#way === "stream" && this.#greeted) this.#planTrial();
    else this.retry();
  };

  #offline = () => {
    doubtServer();
    this.#check();
  };

  /** The timers of a hidden tab are slow, and after sleep the connection may be dead. */
  #seen = () => {
    if (document.visibilityState === "visible") {
      this.#check();
      this.retry();
    } else if (this.#channel && this.#way === "stream") {
      this.#leave();
    }
  };
}

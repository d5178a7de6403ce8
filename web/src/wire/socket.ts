/** A session's WebSocket. It reconnects by itself and continues after the last event it received. */

import { socketAddress } from "./api.ts";
import { Backoff } from "./backoff.ts";
import { parseJson } from "./json.ts";
import { doubtServer, ensureServer } from "./server.ts";
import type { Frame } from "./types.ts";

export type Connection = "connecting" | "open" | "waiting" | "offline";

/** Milliseconds between attempts, doubled each time; of silence before a ping; and until its answer. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 8_000;
const SILENCE = 20_000;
const PATIENCE = 10_000;

type Listener = {
  /** If it throws, the connection is closed and opened again. */
  take(frame: Frame): void;
  state(state: Connection): void;
  /** The number of the last event received; null for new events only. */
  after(): number | null;
};

export class Socket {
  #session: string;
  #listener: Listener;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #backoff = new Backoff(FIRST_PAUSE, LONGEST_PAUSE);
  #closed = false;
  /** Changes whenever an attempt to connect begins or is abandoned. */
  #attempt = 0;

  constructor(session: string, listener: Listener) {
    this.#session = session;
    this.#listener = listener;
    addEventListener("online", this.#online);
    addEventListener("offline", this.#offline);
    document.addEventListener("visibilitychange", this.#visible);
    void this.#connect();
  }

  close(): void {
    this.#closed = true;
    removeEventListener("online", this.#online);
    removeEventListener("offline", this.#offline);
    document.removeEventListener("visibilitychange", this.#visible);
    this.#leave();
  }

  /** Connect now instead of after the pause. */
  retry(): void {
    if (!this.#closed && this.#socket === null) void this.#connect();
  }

  /** Close the connection; it is opened again after a pause. */
  fail(): void {
    if (this.#socket) this.#lost(this.#socket);
  }

  async #connect(): Promise<void> {
    this.#leave();
    if (!navigator.onLine) {
      this.#listener.state("offline");
      return;
    }
    this.#listener.state("connecting");
    const attempt = this.#attempt;
    const isSame = await ensureServer().then(
      () => true,
      () => false,
    );
    if (attempt !== this.#attempt) return;
    if (isSame) this.#open();
    else this.#wait();
  }

  #open(): void {
    const socket = new WebSocket(socketAddress(this.#session, this.#listener.after()));
    this.#socket = socket;
    this.#watch(PATIENCE);
    socket.onmessage = (message) => {
      this.#watch(SILENCE);
      this.#take(socket, parseJson(message.data) as Frame);
    };
    socket.onclose = () => this.#lost(socket);
  }

  #take(socket: WebSocket, frame: Frame): void {
    if (frame.type === "hello") {
      this.#backoff.reset();
      this.#listener.state("open");
    }
    try {
      if (frame.type !== "pong") this.#listener.take(frame);
    } catch (error) {
      console.warn("the connection is opened again:", error);
      this.#lost(socket);
    }
  }

  #lost(socket: WebSocket): void {
    if (this.#socket !== socket) return;
    this.#leave();
    doubtServer();
    this.#wait();
  }

  /** Connect after a pause. */
  #wait(): void {
    if (!navigator.onLine) {
      this.#listener.state("offline");
      return;
    }
    this.#listener.state("waiting");
    this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  #leave(): void {
    clearTimeout(this.#timer);
    this.#attempt++;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    }
  }

  /** A dead connection is silent: after a while, send a ping; without an answer, reconnect. */
  #watch(patience: number): void {
    const socket = this.#socket;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (socket === null || socket !== this.#socket) return;
      if (patience === SILENCE && socket.readyState === WebSocket.OPEN) {
        socket.send('{"type":"ping"}');
        this.#watch(PATIENCE);
      } else {
        this.#lost(socket);
      }
    }, patience);
  }

  #online = () => this.retry();

  #offline = () => {
    this.#leave();
    doubtServer();
    this.#listener.state("offline");
  };

  /** The timers of a hidden tab are slow, and after sleep the connection may be dead. */
  #visible = () => {
    if (document.visibilityState !== "visible") return;
    this.retry();
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send('{"type":"ping"}');
      this.#watch(PATIENCE);
    }
  };
}

/** Which way to a session to take. A network that refuses WebSockets refuses those of all sessions. */

import { Backoff } from "./backoff.ts";
import { openSocket } from "./socket.ts";
import { openStream } from "./stream.ts";

export type Way = "socket" | "stream";

export const OPEN = { socket: openSocket, stream: openStream };

/** Milliseconds until a WebSocket is tried again, doubled each time. */
const FIRST_PAUSE = 60_000;
const LONGEST_PAUSE = 600_000;

const backoff = new Backoff(FIRST_PAUSE, LONGEST_PAUSE);
let refusedUntil = 0;

/** Milliseconds until a WebSocket should be tried; 0 if it is not known to be refused. */
export function socketPause(): number {
  return Math.max(0, refusedUntil - Date.now());
}

/** The server answers, but not to a WebSocket. */
export function socketRefused(): void {
  refusedUntil = Date.now() + backoff.next();
}

export function socketWorks(): void {
  refusedUntil = 0;
  backoff.reset();
}

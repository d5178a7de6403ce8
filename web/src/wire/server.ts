/**
 * Identifies the server at this address by the id of its store.
 *
 * When a server stops, another one may start at the same address. It must not receive what was
 * written for the first one: an agent would carry it out in the wrong project.
 */

import { Backoff } from "./backoff.ts";
import { noAnswer, request } from "./request.ts";

/** Milliseconds between attempts, which double. */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 8_000;

let store: string | null = null;

/** The number of lost connections, in total and at the time when the server was last confirmed. */
let losses = 0;
let confirmed = 0;

let learned: () => void;

/** Resolves when the server has sent the id of its store. */
export const serverKnown = new Promise<void>((resolve) => {
  learned = resolve;
});

/** Null until the server has sent it. */
export function storeId(): string | null {
  return store;
}

/** Note that the connection was lost: the next answer may come from another server. */
export function doubtServer(): void {
  losses++;
}

/** Confirm the server if the connection was lost since it was last confirmed. */
export async function ensureServer(): Promise<void> {
  if (confirmed < losses) await confirmServer();
}

/** Ask which server this is. For another one, the web client starts again and this never returns. */
export async function confirmServer(): Promise<void> {
  const before = losses;
  const id = await readStoreId();
  if (store !== null && store !== id) await startAgain();
  confirmed = Math.max(confirmed, before);
  store = id;
  learned();
}

async function readStoreId(): Promise<string> {
  // A proxy's error or a captive portal's login page is not an answer from Sessile.
  try {
    const { storeId: id } = await (await request("GET", "info")).json();
    if (typeof id === "string" && id) return id;
  } catch {
    doubtServer();
  }
  throw noAnswer();
}

/** The new server does not have the session in the address, so start with a new chat. */
function startAgain(): Promise<never> {
  history.replaceState(null, "", "#/");
  location.reload();
  return new Promise(() => undefined);
}

async function learn(): Promise<void> {
  const backoff = new Backoff(FIRST_PAUSE, LONGEST_PAUSE);
  while (store === null) {
    try {
      await confirmServer();
    } catch {
      await new Promise((done) => setTimeout(done, backoff.next()));
    }
  }
}

void learn();

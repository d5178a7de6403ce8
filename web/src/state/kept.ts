/**
 * What this browser keeps between visits. Where it keeps nothing, the web client works all the same.
 *
 * What belongs to a server has the id of its store and the path it is mounted under in its name:
 * several servers may use one origin, at the same time or one after the other.
 */

import { serverKnown, storeId } from "../wire/server.ts";
import { Store } from "./store.ts";

type Owner = "server" | "person";

const PERSONAL = "sessile.";

/** Whether it is known which server this is. Before that, nothing of it is read, kept or sent. */
export const ready = new Store(false);
void serverKnown.then(() => ready.set(true));

/** Null if the server is not known yet. */
function keyOf(name: string, owner: Owner): string | null {
  if (owner === "person") return PERSONAL + name;
  const store = storeId();
  return store && `sessile:${store}:${new URL(".", document.baseURI).pathname}:${name}`;
}

export function read<Value>(name: string, fallback: Value, owner: Owner = "server"): Value {
  try {
    const key = keyOf(name, owner);
    const text = key && localStorage.getItem(key);
    return text ? JSON.parse(text) : fallback;
  } catch {
    return fallback;
  }
}

/** Null removes it. */
export function keep(name: string, value: unknown, owner: Owner = "server"): void {
  try {
    const key = keyOf(name, owner);
    if (!key) return;
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // The storage is full or disabled.
  }
}

/** The names of what is kept for this server that begin with a prefix. */
export function keptNames(prefix: string): string[] {
  try {
    const start = keyOf("", "server");
    if (!start) return [];
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(start + prefix));
    return keys.map((key) => key.slice(start.length));
  } catch {
    return [];
  }
}

/** A value that is kept, the same in all tabs. */
export function kept<Value>(name: string, fallback: Value, owner: Owner = "server"): Store<Value> {
  const store = new Store(read(name, fallback, owner));
  store.watch(() => keep(name, store.value, owner));
  addEventListener("storage", (event) => {
    if (event.key === keyOf(name, owner)) store.set(read(name, fallback, owner));
  });
  if (owner === "server") void serverKnown.then(() => store.set(read(name, fallback)));
  return store;
}

/** Names without a server do not say for which one their content was written. */
function dropUnowned(): void {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(PERSONAL));
    for (const key of keys) if (key !== `${PERSONAL}theme`) localStorage.removeItem(key);
  } catch {
    // The storage is disabled.
  }
}

dropUnowned();

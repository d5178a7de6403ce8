/**
 * What the browser keeps between visits. The web client also works without it.
 *
 * Entries that belong to a server are named by the id of its store and its mount path, because several
 * servers may use the same origin, at the same time or one after the other.
 */

import { parseJson, toJson } from "../wire/json.ts";
import { serverKnown, storeId } from "../wire/server.ts";
import { Store } from "./store.ts";

type Owner = "server" | "person";

const PERSONAL = "sessile.";

/** Whether the server is known. Until then, no entry of it is read or written. */
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
    return text ? (parseJson(text) as Value) : fallback;
  } catch {
    return fallback;
  }
}

/** Null removes the entry. */
export function keep(name: string, value: unknown, owner: Owner = "server"): void {
  try {
    const key = keyOf(name, owner);
    if (!key) return;
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, toJson(value));
  } catch {
    // The storage is full or disabled.
  }
}

/** The names of this server's entries that start with a prefix. */
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

/** A value that is kept and shared by all tabs. */
export function kept<Value>(name: string, fallback: Value, owner: Owner = "server"): Store<Value> {
  const store = new Store(read(name, fallback, owner));
  store.watch(() => keep(name, store.value, owner));
  addEventListener("storage", (event) => {
    if (event.key === keyOf(name, owner)) store.set(read(name, fallback, owner));
  });
  if (owner === "server") void serverKnown.then(() => store.set(read(name, fallback)));
  return store;
}

/** It is unknown for which server an entry without a store id was written. */
function dropUnowned(): void {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(PERSONAL));
    for (const key of keys) if (key !== `${PERSONAL}theme`) localStorage.removeItem(key);
  } catch {
    // The storage is disabled.
  }
}

dropUnowned();

/**
 * What the browser keeps between visits. The web client also works without it.
 *
 * Entries that belong to a server are named by the id of its store and its mount path, because several
 * servers may use the same origin, at the same time or one after the other.
 */

import { isObject, parseJson, toJson } from "../wire/json.ts";
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

/** What the browser would not keep: its storage is full, or blocked. It lasts as long as the page. */
const unkept = new Map<string, string | null>();

export function read<Value>(name: string, fallback: Value, owner: Owner = "server"): Value {
  const key = keyOf(name, owner);
  try {
    const text = key && (unkept.has(key) ? unkept.get(key) : localStorage.getItem(key));
    const value = text ? parseJson(text) : fallback;
    return isLike(value, fallback) ? value : fallback;
  } catch {
    return fallback;
  }
}

/** Whether what was kept can be what is expected: another program may have written it. */
function isLike<Value>(value: unknown, expected: Value): value is Value {
  if (Array.isArray(value)) return Array.isArray(expected);
  if (!isObject(value)) return typeof value === typeof expected && value !== null;
  return (
    isObject(expected) && Object.keys(expected).every((name) => isLike(value[name], expected[name]))
  );
}

/** Null removes the entry. */
export function keep(name: string, value: unknown, owner: Owner = "server"): void {
  const key = keyOf(name, owner);
  if (!key) return;
  const text = value === null ? null : toJson(value);
  try {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
    unkept.delete(key);
  } catch {
    unkept.set(key, text);
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

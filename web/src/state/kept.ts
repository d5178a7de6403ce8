/** What this browser keeps between visits. Where it keeps nothing, the page works all the same. */

import { Store } from "./store.ts";

export function read<Value>(name: string, fallback: Value): Value {
  try {
    const text = localStorage.getItem(`sessile.${name}`);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** Null removes it. */
export function keep(name: string, value: unknown): void {
  try {
    if (value === null) localStorage.removeItem(`sessile.${name}`);
    else localStorage.setItem(`sessile.${name}`, JSON.stringify(value));
  } catch {
    // There is no room for it, or nothing is kept here.
  }
}

/** The names of what is kept that begin so. */
export function keptNames(prefix: string): string[] {
  try {
    const names = Object.keys(localStorage).map((key) => key.replace(/^sessile\./, ""));
    return names.filter((name) => name.startsWith(prefix));
  } catch {
    return [];
  }
}

/** A value that is kept, the same in all tabs. */
export function kept<Value>(name: string, fallback: Value): Store<Value> {
  const store = new Store(read(name, fallback));
  store.watch(() => keep(name, store.value));
  addEventListener("storage", (event) => {
    if (event.key === `sessile.${name}`) store.set(read(name, fallback));
  });
  return store;
}

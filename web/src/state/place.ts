/** The open session, and a message in it: the part of the URL after `#`. */

import { Store } from "./store.ts";

export type Place = { session: string | null; message: string | null };

export const place = new Store<Place>(here());

addEventListener("hashchange", () => place.set(here()));

function here(): Place {
  const [, session, message] = location.hash.split("/").map(decoded);
  return { session: session || null, message: message || null };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function addressOf(session: string | null, message?: string): string {
  const path = [session, message]
    .filter((part) => part)
    .map((part) => encodeURIComponent(part ?? ""));
  return `#/${path.join("/")}`;
}

export function go(session: string | null, message?: string): void {
  location.hash = addressOf(session, message);
}

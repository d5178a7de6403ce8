/** What was read in this browser: for each session, the number of the newest event shown. */

import { serverKnown, storeId } from "../wire/server.ts";
import type { Session } from "../wire/types.ts";
import { kept } from "./kept.ts";

const MOST = 2_000;

/** Everything older than the first visit counts as read. */
export const seen = kept<{ since: number; sessions: Record<string, number> }>("seen", {
  since: Math.floor(Date.now() / 1000),
  sessions: {},
});
void serverKnown.then(() => seen.set({ ...seen.value })); // keeps the time of the first visit

export function markSeen(id: string, seq: number): void {
  const { since, sessions } = seen.value;
  if (storeId() === null || (sessions[id] ?? 0) >= seq) return;
  const { [id]: _, ...others } = sessions;
  const newest = Object.entries(others).slice(-MOST + 1);
  seen.set({ since, sessions: { ...Object.fromEntries(newest), [id]: seq } });
}

/** Whether an answer ended in a session since the session was last open in this browser. */
export function isUnread(session: Session, { since, sessions }: typeof seen.value): boolean {
  const known = sessions[session.id];
  const isNew = known === undefined ? session.updatedAt > since : session.seq > known;
  return isNew && session.status === "idle" && session.messageCount > 0;
}

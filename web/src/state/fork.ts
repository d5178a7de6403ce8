import { forkSession } from "../wire/api.ts";
import { go } from "./place.ts";
import { sessionList } from "./session-list.ts";

/** Fork a session, up to a message or whole, and go there. */
export async function fork(session: string, at?: string): Promise<void> {
  const made = await forkSession(session, at);
  void sessionList.refresh();
  go(made.id);
}

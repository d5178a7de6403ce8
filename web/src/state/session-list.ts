/** The sessions of the server, newest activity first, updated by polling. */

import { listSessions } from "../wire/api.ts";
import { ServerError } from "../wire/request.ts";
import type { Session } from "../wire/types.ts";
import { Store } from "./store.ts";

const PAGE = 50;
const MOST = 200;

/** Milliseconds between requests: in a visible tab, in a hidden tab, and at most while requests fail. */
const VISIBLE = 2_000;
const HIDDEN = 10_000;
const AWAY = 15_000;

export type Listed = {
  sessions: Session[];
  hasMore: boolean;
  loaded: boolean;
  query: string;
  archived: boolean;
};

class SessionList extends Store<Listed> {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #asked = 0;
  #wanted = PAGE;

  constructor() {
    super({ sessions: [], hasMore: false, loaded: false, query: "", archived: false });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.refresh();
    });
    addEventListener("online", () => this.refresh());
    void this.refresh();
  }

  look(change: { query?: string; archived?: boolean }): void {
    this.#wanted = PAGE;
    this.change(change);
    void this.refresh();
  }

  async more(): Promise<void> {
    const { sessions, hasMore, query, archived } = this.value;
    const last = sessions.at(-1);
    if (!hasMore || !last) return;
    const asked = ++this.#asked;
    try {
      const page = await listSessions({ limit: PAGE, before: last.id, q: query, archived });
      if (asked !== this.#asked) return;
      this.#wanted = Math.min(sessions.length + PAGE, MOST);
      this.#put(page.sessions, page.hasMore, sessions);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
    }
  }

  /** Request the list now and then every few seconds, less often while the server does not answer. */
  refresh = async (): Promise<void> => {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    const { query, archived } = this.value;
    try {
      const page = await listSessions({ limit: this.#wanted, q: query, archived });
      if (asked !== this.#asked) return;
      this.#failures = 0;
      // Sessions beyond those requested stay as they were.
      const further = this.value.sessions.length > MOST && page.hasMore;
      if (further) this.#put(this.value.sessions.slice(MOST), this.value.hasMore, page.sessions);
      else this.#put(page.sessions, page.hasMore);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#failures++;
    }
    if (asked === this.#asked) this.#plan();
  };

  /** Show a change that was made in this tab at once. */
  put(changed: Session): void {
    const { sessions, archived } = this.value;
    const shown = sessions.map((session) => (session.id === changed.id ? changed : session));
    this.change({ sessions: shown.filter((session) => session.archived === archived) });
    void this.refresh();
  }

  drop(id: string): void {
    this.change({ sessions: this.value.sessions.filter((session) => session.id !== id) });
    void this.refresh();
  }

  #put(page: Session[], hasMore: boolean, before: Session[] = []): void {
    const ids = new Set(before.map((session) => session.id));
    const sessions = [...before, ...page.filter((session) => !ids.has(session.id))];
    this.change({ sessions, hasMore, loaded: true });
    this.#plan();
  }

  #plan(): void {
    clearTimeout(this.#timer);
    const pause = document.visibilityState === "visible" ? VISIBLE : HIDDEN;
    this.#timer = setTimeout(this.refresh, Math.min(pause * 2 ** this.#failures, AWAY));
  }
}

export const sessionList = new SessionList();

import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import { addressOf, go } from "../state/place.ts";
import { isUnread, seen } from "../state/seen.ts";
import { sessionList } from "../state/session-list.ts";
import { useStore } from "../state/store.ts";
import { theme } from "../state/theme.ts";
import { search } from "../wire/api.ts";
import type { Found, Session } from "../wire/types.ts";
import { IconButton } from "./Button.tsx";
import { Icon } from "./icons.tsx";
import { SessionMenu } from "./SessionMenu.tsx";
import { Time } from "./Time.tsx";
import { unhidden } from "./text.ts";

/** Milliseconds without a keystroke before messages are searched. */
const PAUSE = 250;

type Given = { current: string | null; open: boolean; onClose: () => void; onKeys: () => void };

/** The list of sessions, with search and a button for a new chat. */
export function Sidebar({ current, open, onClose, onKeys }: Given) {
  const { sessions, hasMore, loaded, query, archived } = useStore(sessionList);
  const found = useFound(query);
  return (
    <>
      <div className={`shade ${open ? "open" : ""}`} aria-hidden="true" onClick={onClose} />
      <nav className={`sidebar ${open ? "open" : ""}`} aria-label="Sessions">
        <div className="sidebar-top">
          <button
            type="button"
            className="new-chat"
            onClick={() => {
              go(null);
              onClose();
            }}
          >
            <Icon name="plus" />
            New chat
          </button>
          <label className="search">
            <Icon name="search" />
            <input
              type="search"
              id="search"
              value={query}
              placeholder="Search"
              aria-label="Search sessions and messages"
              onChange={(event) => sessionList.look({ query: event.target.value })}
              onKeyDown={intoList}
            />
          </label>
        </div>
        <ul className="sessions" aria-label={archived ? "Archived sessions" : "Sessions"}>
          {sessions.map((session) => (
            <Item
              key={session.id}
              session={session}
              current={session.id === current}
              onOpen={onClose}
            />
          ))}
          {hasMore && (
            <li>
              <button type="button" className="link" onClick={() => sessionList.more()}>
                Show more
              </button>
            </li>
          )}
          {loaded && !sessions.length && (
            <li className="aside">
              {query
                ? "No session has this title."
                : archived
                  ? "No archived sessions."
                  : "No sessions yet."}
            </li>
          )}
        </ul>
        {query && found.length > 0 && (
          <section className="found" aria-label="Matching messages">
            <h2>In messages</h2>
            <ul>
              {found.map((hit) => (
                <Hit key={`${hit.sessionId} ${hit.message.id}`} hit={hit} onOpen={onClose} />
              ))}
            </ul>
          </section>
        )}
        <div className="sidebar-bottom">
          <button
            type="button"
            className="toggle"
            aria-pressed={archived}
            onClick={() => sessionList.look({ archived: !archived })}
          >
            <Icon name="archive" />
            Archive
          </button>
          <ThemeButton />
          <IconButton icon="keyboard" label="Keyboard shortcuts" onClick={onKeys} />
        </div>
      </nav>
    </>
  );
}

type ItemGiven = { session: Session; current: boolean; onOpen: () => void };

function Item({ session, current, onOpen }: ItemGiven) {
  const unread = isUnread(session, useStore(seen)) && !current;
  const working = session.status !== "idle";
  return (
    <li className={`session ${current ? "current" : ""} ${unread ? "unread" : ""}`}>
      <a
        href={addressOf(session.id)}
        aria-current={current ? "page" : undefined}
        onClick={onOpen}
        onKeyDown={intoList}
      >
        <bdi className="title">{unhidden(session.title) || session.id}</bdi>
        {working ? (
          <span className={`status ${session.status}`}>
            <i />
            {session.status === "waiting" ? "waiting for you" : session.status}
          </span>
        ) : unread ? (
          <span className="status new">
            <i />
            new
          </span>
        ) : (
          <Time seconds={session.updatedAt} />
        )}
      </a>
      <SessionMenu session={session} />
    </li>
  );
}

/** Move with the arrow keys between the search field and the sessions. */
function intoList(event: KeyboardEvent<HTMLElement>): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.altKey) return;
  const stops = [
    ...document.querySelectorAll<HTMLElement>("#search, .sessions .session > a, .found a"),
  ];
  const next = stops[stops.indexOf(event.currentTarget) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** Messages that contain all words of a query. */
function useFound(query: string): Found[] {
  const [found, setFound] = useState<Found[]>([]);
  const asked = useRef("");
  useEffect(() => {
    asked.current = query;
    if (!query.trim()) {
      setFound([]);
      return;
    }
    const timer = setTimeout(async () => {
      const hits = await search(query, 20).catch(() => []);
      if (asked.current === query) setFound(hits);
    }, PAUSE);
    return () => clearTimeout(timer);
  }, [query]);
  return found;
}

function Hit({ hit, onOpen }: { hit: Found; onOpen: () => void }) {
  return (
    <li>
      <a href={addressOf(hit.sessionId, hit.message.id)} onClick={onOpen} onKeyDown={intoList}>
        <bdi className="title">{unhidden(hit.title) || hit.sessionId}</bdi>
        <span className="snippet" dir="auto">
          {marked(hit)}
        </span>
      </a>
    </li>
  );
}

/** The snippet with the matches marked. */
function marked({ snippet, found }: Found) {
  const characters = [...snippet];
  let at = 0;
  const pieces = found.flatMap(([start, end]) => {
    const before = unhidden(characters.slice(at, start).join(""));
    at = end;
    return [before, <mark key={start}>{unhidden(characters.slice(start, end).join(""))}</mark>];
  });
  return [...pieces, unhidden(characters.slice(at).join(""))];
}

function ThemeButton() {
  const current = useStore(theme);
  const next = { system: "light", light: "dark", dark: "system" } as const;
  const icon = { system: "screen", light: "sun", dark: "moon" } as const;
  return (
    <IconButton
      icon={icon[current]}
      label={`Colours: ${current}`}
      onClick={() => theme.set(next[current])}
    />
  );
}

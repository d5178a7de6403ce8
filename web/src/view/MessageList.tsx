import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { Waiting as Outgoing } from "../state/outbox.ts";
import type { Message } from "../wire/types.ts";
import { Boundary } from "./Boundary.tsx";
import { IconButton } from "./Button.tsx";
import {
  Continued,
  type MessageActions,
  MessageView,
  OutgoingView,
  Waiting,
} from "./MessageView.tsx";
import { attempt } from "./notices.tsx";
import { useSession } from "./session-context.ts";

/** Pixels: assumed height of a message, distance from the end that counts as the end, space above. */
const GUESS = 120;
const NEAR_END = 80;
const ABOVE = 56;
/** Older messages are read when the reader is this many messages from the first one. */
const NEAR_START = 10;

type Row =
  | { key: string; message: Message }
  | { key: string; outgoing: Outgoing }
  | { key: string; waiting: true };

type Given = {
  messages: Message[];
  outgoing: Outgoing[];
  hasMore: boolean;
  running: boolean;
  /** The running turn goes on after a restart of the server. */
  continued: boolean;
  actions: MessageActions;
  marked: string | null;
};

/** The history; only messages in view are rendered. */
export function MessageList(given: Given) {
  const { messages, outgoing, hasMore, running, continued, actions, marked } = given;
  const session = useSession();
  const scroller = useRef<HTMLDivElement>(null);
  const [reading, setReading] = useState(false);
  const rows = useMemo(() => rowsOf(messages, outgoing, running), [messages, outgoing, running]);
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => GUESS,
    getItemKey: (index) => rows[index]?.key ?? index,
    overscan: 6,
    paddingStart: ABOVE,
    paddingEnd: 24,
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: NEAR_END,
    // Measured sizes are applied in the same frame and not in the next one.
    directDomUpdates: true,
    directDomUpdatesMode: "position",
  });

  const readEarlier = async () => {
    setReading(true);
    await attempt(session.readEarlier());
    setReading(false);
  };

  useLayoutEffect(() => virtualizer.scrollToEnd(), [virtualizer]);

  // Show a message that was just sent.
  const sent = outgoing.at(-1)?.id;
  useEffect(() => {
    if (sent) virtualizer.scrollToEnd();
  }, [sent, virtualizer]);

  // Scroll there once, when it was read; after that the reader scrolls freely.
  const gone = useRef<string | null>(null);
  const at = marked ? rows.findIndex((row) => row.key === marked) : -1;
  useEffect(() => {
    if (at < 0 || gone.current === marked) return;
    gone.current = marked;
    virtualizer.scrollToIndex(at, { align: "center" });
  }, [at, marked, virtualizer]);

  // The virtualizer knows the position; reading it from the DOM would force a layout.
  const first = virtualizer.range?.startIndex ?? 0;
  const upwards = virtualizer.scrollDirection === "backward";
  useEffect(() => {
    if (upwards && first < NEAR_START && hasMore && !reading) void readEarlier();
  });
  const below =
    virtualizer.getTotalSize() -
    (virtualizer.scrollOffset ?? 0) -
    (virtualizer.scrollRect?.height ?? 0);
  const away = below > 4 * NEAR_END;

  // The browser's own smooth scrolling stops when a row on the way is measured.
  const onKeyDown = (event: KeyboardEvent) => {
    if (isField(event.target)) return; // the keys move in what is written there
    const page = (scroller.current?.clientHeight ?? 0) * 0.9;
    if (event.key === "Home") virtualizer.scrollToOffset(0);
    else if (event.key === "End") virtualizer.scrollToEnd();
    else if (event.key === "PageUp") scroller.current?.scrollBy(0, -page);
    else if (event.key === "PageDown") scroller.current?.scrollBy(0, page);
    else return;
    event.preventDefault();
  };

  return (
    <div className="messages">
      <div
        ref={scroller}
        className="scroller"
        onKeyDown={onKeyDown}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Conversation"
        data-count={messages.length}
      >
        <div className="rows" ref={virtualizer.containerRef}>
          {hasMore && (
            <button type="button" className="earlier" disabled={reading} onClick={readEarlier}>
              {reading ? "Loading…" : "Load earlier messages"}
            </button>
          )}
          {virtualizer.getVirtualItems().map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            return (
              <div
                key={item.key}
                ref={virtualizer.measureElement}
                data-index={item.index}
                className="row"
              >
                <RowView
                  row={row}
                  busy={running}
                  continued={continued}
                  actions={actions}
                  marked={row.key === marked}
                />
              </div>
            );
          })}
        </div>
      </div>
      {away && (
        <IconButton
          icon="arrowDown"
          label="To the newest message"
          className="to-end"
          onClick={() => virtualizer.scrollToEnd()}
        />
      )}
    </div>
  );
}

function isField(target: EventTarget): boolean {
  return target instanceof Element && target.matches("input, textarea, select");
}

type RowGiven = Pick<Given, "continued" | "actions"> & { row: Row; busy: boolean; marked: boolean };

function RowView({ row, busy, continued, actions, marked }: RowGiven) {
  const { outbox } = useSession();
  if ("message" in row) {
    return (
      <Boundary instead={<p className="unshown">This message cannot be shown.</p>}>
        <MessageView
          message={row.message}
          busy={busy}
          continued={continued && row.message.status === "streaming"}
          actions={actions}
          marked={marked}
        />
      </Boundary>
    );
  }
  if ("waiting" in row) return continued ? <Continued /> : <Waiting />;
  const { id, parts, error } = row.outgoing;
  return (
    <OutgoingView
      message={{ id, parts }}
      error={error}
      onAgain={() => outbox.again(id)}
      onDrop={() => outbox.drop(id)}
    />
  );
}

function rowsOf(messages: Message[], outgoing: Outgoing[], running: boolean): Row[] {
  const rows: Row[] = messages
    .filter((message) => message.status !== "queued")
    .map((message) => ({ key: message.id, message }));
  const last = messages.findLast((message) => message.status !== "queued");
  if (running && last?.status !== "streaming") rows.push({ key: "waiting", waiting: true });
  const stored = new Set(messages.slice(-300).map((message) => message.id));
  for (const message of outgoing) {
    if (!stored.has(message.id)) rows.push({ key: message.id, outgoing: message });
  }
  return rows;
}

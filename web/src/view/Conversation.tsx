import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { fork } from "../state/fork.ts";
import { ready as serverReady } from "../state/kept.ts";
import { OpenSession } from "../state/open-session.ts";
import { addressOf, place } from "../state/place.ts";
import { sessionList } from "../state/session-list.ts";
import { useStore } from "../state/store.ts";
import { regenerate } from "../wire/api.ts";
import { type Message, openQuestion, type Question } from "../wire/types.ts";
import { IconButton } from "./Button.tsx";
import { Composer } from "./Composer.tsx";
import { ConnectionState } from "./ConnectionState.tsx";
import { Confirm } from "./Dialog.tsx";
import { MessageList } from "./MessageList.tsx";
import { announce, attempt, notify } from "./notices.tsx";
import { Queue } from "./Queue.tsx";
import { SessionMenu } from "./SessionMenu.tsx";
import { SessionContext } from "./session-context.ts";
import { unhidden } from "./text.ts";

type Given = { id: string; message: string | null; onMenu: () => void };

/** One session: its history, its queue, and the field for the next message. */
export function Conversation({ id, message, onMenu }: Given) {
  const [session, setSession] = useState<OpenSession | null>(null);
  useEffect(() => {
    const opened = new OpenSession(id);
    setSession(opened);
    return () => opened.close();
  }, [id]);
  return session ? (
    <SessionContext value={session}>
      <Opened session={session} message={message} onMenu={onMenu} />
    </SessionContext>
  ) : null;
}

function Opened({ session, message, onMenu }: Omit<Given, "id"> & { session: OpenSession }) {
  const shown = useStore(session);
  const outgoing = useStore(session.outbox);
  const listed = useStore(sessionList).sessions.find((other) => other.id === session.id);
  const [edited, setEdited] = useState<Message | null>(null);
  const [again, setAgain] = useState<Message | null>(null);
  const ready = useStore(serverReady);
  const { messages, running, continued } = shown;
  const named = useStore(place).session === session.id;
  const value = newer(listed, shown.session);

  // The list is polled every few seconds, but what happens in this tab is shown at once.
  // biome-ignore lint/correctness/useExhaustiveDependencies: whatever way it changed
  useEffect(() => void sessionList.refresh(), [running]);
  useFind(session, shown.loaded ? message : null);
  useAnnounced(messages, shown.loaded);
  useEffect(() => {
    if (continued) announce("The answer is continued after a restart.");
  }, [continued]);

  const answerAgain = useCallback(
    (answer: Message) => attempt(regenerate(session.id, answer.id)),
    [session],
  );
  const newest = useRef(messages);
  newest.current = messages;
  const actions = useMemo(
    () => ({
      edit: setEdited,
      regenerate: (answer: Message) => {
        if (newest.current.at(-1)?.id === answer.id) void answerAgain(answer);
        else setAgain(answer);
      },
      fork: (at: Message) => void attempt(fork(session.id, at.id)),
    }),
    [session, answerAgain],
  );

  const onSend = () => {
    setEdited(null);
    // A new session gets its own URL with its first message.
    if (!named) {
      history.replaceState(null, "", addressOf(session.id));
      place.set({ session: session.id, message: null });
    }
    void sessionList.refresh();
  };

  const queued = messages.filter((one) => one.status === "queued");
  const empty = shown.loaded && !messages.length && !outgoing.length;
  const unnamed = messages.length ? session.id : shown.loaded || !named ? "New chat" : "…";
  return (
    <main className="conversation">
      <header>
        <IconButton icon="menu" label="Sessions" className="open-sidebar" onClick={onMenu} />
        <h1>
          <bdi>{unhidden(value?.title || unnamed)}</bdi>
        </h1>
        <ConnectionState session={session} connection={shown.connection} />
        {value && <SessionMenu session={value} />}
      </header>
      {empty ? (
        <div className="empty">
          <h2>What is on your mind?</h2>
          <p>Every message is stored before it is answered, and is answered once.</p>
        </div>
      ) : shown.loaded || outgoing.length ? (
        <MessageList
          messages={messages}
          outgoing={outgoing}
          hasMore={shown.hasMore}
          running={running}
          continued={continued}
          actions={actions}
          marked={message}
        />
      ) : (
        <div className="empty" aria-busy="true" />
      )}
      <div className="bottom">
        <Queue messages={queued} />
        <Composer
          key={ready ? (edited?.id ?? "new") : "unknown"}
          disabled={!ready}
          running={running}
          edited={edited}
          onEdited={() => setEdited(null)}
          onSend={onSend}
        />
      </div>
      {again && (
        <Confirm
          title="Answer again?"
          text="This answer and everything after it will be deleted."
          verb="Answer again"
          onYes={() => answerAgain(again)}
          onClose={() => setAgain(null)}
        />
      )}
    </main>
  );
}

/** How an answer ended, for screen readers. */
const ENDS: Partial<Record<Message["status"], string>> = {
  stopped: "The answer was stopped.",
  interrupted: "The answer was interrupted.",
  error: "The answer failed.",
};

/** The newer of two states of a session. */
function newer<Value extends { seq: number }>(one: Value | undefined, other: Value | null) {
  if (!one || !other) return one ?? other;
  return one.seq > other.seq ? one : other;
}

/** Read earlier pages up to the message in the URL. */
function useFind(session: OpenSession, message: string | null): void {
  useEffect(() => {
    if (!message) return;
    const looking = session.find(message).then((found) => {
      if (!found) notify("This message no longer exists.");
    });
    void attempt(looking);
  }, [session, message]);
}

/** Announce to screen readers when an agent asks something and when an answer ends. */
function useAnnounced(messages: Message[], loaded: boolean): void {
  const last = messages.findLast((message) => message.role === "assistant");
  const before = useRef<{ seq: number; open: boolean; asks: Question["kind"] | undefined } | null>(
    null,
  );
  useEffect(() => {
    if (!loaded) return;
    const known = before.current;
    const now = {
      seq: last?.seq ?? 0,
      open: last?.status === "streaming",
      asks: last && asks(last),
    };
    before.current = now;
    if (now.asks && !(known?.asks && known.seq === now.seq)) {
      announce(
        now.asks === "output" ? "The agent asks for input." : "The agent asks for permission.",
      );
    } else if (last && known && !now.open && (known.seq < now.seq || known.open)) {
      announce(ENDS[last.status] ?? `The answer is ${last.status}.`);
    }
  }, [last, loaded]);
}

/** What kind of question is open in an answer. */
function asks(message: Message): Question["kind"] | undefined {
  return message.parts.map(openQuestion).find((question) => question)?.kind;
}

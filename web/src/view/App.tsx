import { useEffect, useMemo, useState } from "react";
import { go, place } from "../state/place.ts";
import { isUnread, seen } from "../state/seen.ts";
import { sessionList } from "../state/session-list.ts";
import { useStore } from "../state/store.ts";
import { newId } from "../wire/ids.ts";
import { Conversation } from "./Conversation.tsx";
import { Keys } from "./Keys.tsx";
import { Notices } from "./notices.tsx";
import { Sidebar } from "./Sidebar.tsx";
import { unhidden } from "./text.ts";

export function App() {
  const { session, message } = useStore(place);
  const [sidebar, setSidebar] = useState(false);
  const [keys, setKeys] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: every new chat is another session
  const fresh = useMemo(newId, [session === null]);
  useTitle(session);
  useKeys(() => setKeys(true));
  const id = session ?? fresh;
  return (
    <div className="app">
      <Sidebar
        current={session}
        open={sidebar}
        onClose={() => setSidebar(false)}
        onKeys={() => setKeys(true)}
      />
      <Conversation key={id} id={id} message={message} onMenu={() => setSidebar(true)} />
      {keys && <Keys onClose={() => setKeys(false)} />}
      <Notices />
    </div>
  );
}

/** The title of the tab has the session's title and the number of other sessions with news. */
function useTitle(current: string | null): void {
  const { sessions } = useStore(sessionList);
  const read = useStore(seen);
  const hidden = document.visibilityState !== "visible";
  const unread = sessions.filter(
    (session) => (hidden || session.id !== current) && isUnread(session, read),
  ).length;
  const title = sessions.find((session) => session.id === current)?.title;
  useEffect(() => {
    document.title = `${unread ? `(${unread}) ` : ""}${unhidden(title || "Sessile")}`;
  }, [unread, title]);
}

function useKeys(onHelp: () => void): void {
  useEffect(() => {
    const onKeyDown = (event: globalThis.KeyboardEvent) => {
      const command = event.ctrlKey || event.metaKey;
      if (command && event.key.toLowerCase() === "k") {
        document.getElementById("search")?.focus();
      } else if (command && event.shiftKey && event.key.toLowerCase() === "o") {
        go(null);
      } else if (command && event.key === "/") {
        onHelp();
      } else if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
        step(event.key === "ArrowDown" ? 1 : -1);
      } else {
        return;
      }
      event.preventDefault();
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, [onHelp]);
}

/** Go to a neighbouring session in the list. */
function step(by: number): void {
  const { sessions } = sessionList.value;
  const at = sessions.findIndex((session) => session.id === place.value.session);
  const next = sessions[at < 0 ? 0 : at + by];
  if (next) go(next.id);
}

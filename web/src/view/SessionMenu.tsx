import { useState } from "react";
import { fork } from "../state/fork.ts";
import { go, place } from "../state/place.ts";
import { markSeen } from "../state/seen.ts";
import { sessionList } from "../state/session-list.ts";
import { deleteSession, exportAddress, updateSession } from "../wire/api.ts";
import type { Session } from "../wire/types.ts";
import { Confirm, Dialog } from "./Dialog.tsx";
import { Menu } from "./Menu.tsx";
import { attempt } from "./notices.tsx";
import { unhidden } from "./text.ts";

/** Actions on a session as a whole. */
export function SessionMenu({ session }: { session: Session }) {
  const [asks, setAsks] = useState<"title" | "deletion" | null>(null);
  const close = () => setAsks(null);
  const name = unhidden(session.title) || session.id;

  const change = (changes: { title?: string; archived?: boolean }) =>
    attempt(
      updateSession(session.id, changes).then((changed) => {
        markSeen(changed.id, changed.seq);
        sessionList.put(changed);
      }),
    );

  const remove = () =>
    attempt(
      deleteSession(session.id).then(() => {
        sessionList.drop(session.id);
        if (place.value.session === session.id) go(null);
      }),
    );

  return (
    <>
      <Menu
        label={`Menu for ${name}`}
        items={[
          { icon: "edit", label: "Rename", run: () => setAsks("title") },
          { icon: "branch", label: "Fork", run: () => attempt(fork(session.id)) },
          {
            icon: "archive",
            label: session.archived ? "Unarchive" : "Archive",
            run: () => change({ archived: !session.archived }),
          },
          {
            icon: "download",
            label: "Export as Markdown",
            download: exportAddress(session.id, "markdown"),
          },
          {
            icon: "download",
            label: "Export as JSON",
            download: exportAddress(session.id, "json"),
          },
          { icon: "trash", label: "Delete", danger: true, run: () => setAsks("deletion") },
        ]}
      />
      {asks === "title" && (
        <Rename title={session.title} onTitle={(title) => change({ title })} onClose={close} />
      )}
      {asks === "deletion" && (
        <Confirm
          title="Delete this session?"
          text={`“${name}” and all its messages will be deleted for everyone.`}
          verb="Delete"
          onYes={remove}
          onClose={close}
        />
      )}
    </>
  );
}

type Renaming = { title: string; onTitle: (title: string) => void; onClose: () => void };

function Rename({ title, onTitle, onClose }: Renaming) {
  const [text, setText] = useState(title);
  return (
    <Dialog title="Rename" onClose={onClose}>
      <form
        method="dialog"
        onSubmit={() => {
          onClose();
          onTitle(text.trim());
        }}
      >
        <input
          type="text"
          value={text}
          aria-label="Title"
          maxLength={200}
          onChange={(event) => setText(event.target.value)}
        />
        <div className="dialog-buttons">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="primary" disabled={!text.trim()}>
            Rename
          </button>
        </div>
      </form>
    </Dialog>
  );
}

import {
  type ClipboardEvent,
  type KeyboardEvent,
  useCallback,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { keep, read } from "../state/kept.ts";
import { place } from "../state/place.ts";
import { useStore } from "../state/store.ts";
import { stop } from "../wire/api.ts";
import { newId } from "../wire/ids.ts";
import type { FilePart, Message, Part } from "../wire/types.ts";
import { attached } from "./attach.ts";
import { IconButton } from "./Button.tsx";
import { Icon } from "./icons.tsx";
import { attempt, notify } from "./notices.tsx";
import { useSession } from "./session-context.ts";
import { unhidden } from "./text.ts";

type Given = {
  /** Until it is known which server the message would be sent to. */
  disabled: boolean;
  running: boolean;
  /** The message being edited, if any. */
  edited: Message | null;
  onEdited: () => void;
  onSend: () => void;
};

/** The form in which messages are written and edited. */
export function Composer({ disabled, running, edited, onEdited, onSend }: Given) {
  const session = useSession();
  // A new chat has no id yet under which its draft would be found.
  const name = `draft.${useStore(place).session ?? "new"}`;
  const [text, setText] = useState(() => (edited ? edited.content : read(name, "")));
  const [files, setFiles] = useState<FilePart[]>(() =>
    edited ? edited.parts.filter((part) => part.type === "file") : [],
  );
  // What cannot be edited here is sent again as it is.
  const others = edited?.parts.filter((part) => !["text", "file"].includes(part.type)) ?? [];
  const field = useRef<HTMLTextAreaElement>(null);
  const chooser = useRef<HTMLInputElement>(null);

  // At once, and not after the next frame: the page may be left before that.
  useLayoutEffect(() => {
    if (!edited) keep(name, text || null);
  }, [name, text, edited]);

  // On a phone, the keyboard would cover the conversation.
  useEffect(() => {
    if (edited || matchMedia("(hover: hover)").matches) field.current?.focus();
  }, [edited]);

  const send = () => {
    const content = text.trim() ? text : "";
    if (disabled || (!content && !files.length)) return;
    const parts: Part[] = [...files, ...others];
    if (content) parts.push({ type: "text", content });
    session.outbox.put({ id: newId(), parts, ...(edited ? { replaces: edited.id } : {}) });
    setText("");
    setFiles([]);
    if (!edited) keep(name, null);
    onSend();
  };

  const attach = useCallback(async (chosen: Iterable<File>) => {
    for (const file of chosen) {
      try {
        const part = await attached(file);
        setFiles((before) => [...before, part]);
      } catch (error) {
        notify(error instanceof Error ? error.message : String(error));
      }
    }
    field.current?.focus();
  }, []);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    const byTouch = !matchMedia("(hover: hover)").matches;
    if (event.key === "Enter" && !event.shiftKey && !byTouch) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && edited) {
      onEdited();
    } else if (event.key === "Escape" && running) {
      void attempt(stop(session.id));
    }
  };

  const onPaste = (event: ClipboardEvent) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    void attach(event.clipboardData.files);
  };

  // Files may be dropped anywhere: by default, the browser would open the file instead of this tab.
  useEffect(() => {
    const onDragOver = (event: DragEvent) => event.preventDefault();
    const onDrop = (event: DragEvent) => {
      event.preventDefault();
      void attach(event.dataTransfer?.files ?? []);
    };
    addEventListener("dragover", onDragOver);
    addEventListener("drop", onDrop);
    return () => {
      removeEventListener("dragover", onDragOver);
      removeEventListener("drop", onDrop);
    };
  }, [attach]);

  return (
    <form
      className="composer"
      aria-label={edited ? "Edit a message" : "Write a message"}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {edited && (
        <p className="editing">
          <Icon name="edit" />
          This message and everything after it will be replaced.
          <button type="button" className="link" onClick={onEdited}>
            Cancel
          </button>
        </p>
      )}
      {files.length > 0 && (
        <ul className="attached" aria-label="Attached files">
          {files.map((file, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: one file may be attached twice
            <li key={at}>
              <Icon name="file" />
              <bdi>{unhidden(file.filename ?? file.mediaType)}</bdi>
              <IconButton
                icon="close"
                label={`Remove ${unhidden(file.filename ?? "file")}`}
                onClick={() => setFiles(files.filter((_, other) => other !== at))}
              />
            </li>
          ))}
        </ul>
      )}
      <div className="writing">
        <IconButton
          icon="paperclip"
          label="Attach files"
          disabled={disabled}
          onClick={() => chooser.current?.click()}
        />
        <input
          ref={chooser}
          type="file"
          multiple
          hidden
          aria-label="Files to attach"
          onChange={(event) => {
            void attach([...(event.target.files ?? [])]);
            event.target.value = "";
          }}
        />
        <textarea
          ref={field}
          value={text}
          disabled={disabled}
          rows={Math.min(12, text.split("\n").length)}
          dir="auto"
          aria-label="Message"
          placeholder={running ? "Write the next message…" : "Write a message…"}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={onKeyDown}
          onPaste={onPaste}
        />
        {running && (
          <IconButton
            icon="stop"
            label="Stop the answer"
            className="stop"
            onClick={() => attempt(stop(session.id))}
          />
        )}
        <button
          type="submit"
          className="icon-button send"
          aria-label={running ? "Queue the message" : "Send the message"}
          title={running ? "Queue the message" : "Send the message"}
          disabled={disabled || (!text.trim() && !files.length)}
        >
          <Icon name="send" />
        </button>
      </div>
    </form>
  );
}

import { memo, useDeferredValue } from "react";
import { numberOf } from "../wire/json.ts";
import { type Message, openQuestion, textOf } from "../wire/types.ts";
import { IconButton } from "./Button.tsx";
import { CopyButton } from "./CopyButton.tsx";
import { Icon } from "./icons.tsx";
import { File, PartView } from "./PartView.tsx";
import { Time } from "./Time.tsx";
import { count, dollars, unhidden } from "./text.ts";

export type MessageActions = {
  edit: (message: Message) => void;
  regenerate: (message: Message) => void;
  fork: (message: Message) => void;
};

type Given = {
  message: Message;
  busy: boolean;
  /** The answer goes on after a restart of the server. */
  continued: boolean;
  actions: MessageActions;
  marked: boolean;
};

/** One message of the history. */
export const MessageView = memo(function MessageView(given: Given) {
  const { message, busy, continued, actions, marked } = given;
  const names = { user: "You said", assistant: "Answer", system: "System" };
  return (
    <article
      className={`message ${message.role}${marked ? " marked" : ""}`}
      aria-label={names[message.role]}
      data-id={message.id}
    >
      {message.role === "assistant" ? (
        <Answer message={message} continued={continued} />
      ) : (
        <Said message={message} />
      )}
      {message.status !== "streaming" && <Footer message={message} busy={busy} actions={actions} />}
    </article>
  );
});

function Said({ message }: { message: Pick<Message, "content" | "parts"> }) {
  const files = message.parts.filter((part) => part.type === "file");
  return (
    <div className="said">
      {files.map((file) => (
        <File key={file.url} file={file} />
      ))}
      {message.content && <div className="plain">{message.content}</div>}
    </div>
  );
}

function Answer({ message, continued }: Pick<Given, "message" | "continued">) {
  // If text arrives faster than it can be rendered, rendering may lag behind.
  const parts = useDeferredValue(message.parts);
  const growing = message.status === "streaming";
  const isWritten = growing && !parts.some((part) => part.type === "text" || openQuestion(part));
  return (
    <div className="answer">
      {parts.map((part, index) => (
        <PartView
          // biome-ignore lint/suspicious/noArrayIndexKey: a part's place is what it is
          key={index}
          id={`${message.id}/${index}`}
          part={part}
          growing={growing && index === parts.length - 1}
        />
      ))}
      {continued ? <Continued /> : isWritten && <Waiting />}
      <Outcome message={message} />
    </div>
  );
}

/** Shown before the first text of an answer. */
export function Waiting() {
  return (
    <div className="dots" role="img" aria-label="The answer is being written">
      <i />
      <i />
      <i />
    </div>
  );
}

/** Shown below an answer that goes on. */
export function Continued() {
  return (
    <p className="continued">
      <Icon name="refresh" />
      Continuing after a restart
    </p>
  );
}

function Outcome({ message }: { message: Message }) {
  const failed = message.metadata?.error as { error?: unknown } | undefined;
  const texts: Partial<Record<Message["status"], string>> = {
    stopped: "Stopped. What was written is kept.",
    interrupted: "The server was interrupted. What was written is kept.",
    error: typeof failed?.error === "string" ? failed.error : "The agent failed.",
  };
  const text = texts[message.status];
  if (!text) return null;
  return (
    <p className={`outcome ${message.status}`}>
      <Icon name={message.status === "stopped" ? "stop" : "warning"} />
      {unhidden(text)}
    </p>
  );
}

function Footer({ message, busy, actions }: Omit<Given, "marked" | "continued">) {
  const answer = message.role === "assistant";
  return (
    <footer>
      <CopyButton text={message.content} label="Copy" />
      {message.role === "user" && (
        <IconButton
          icon="edit"
          label="Edit"
          disabled={busy}
          onClick={() => actions.edit(message)}
        />
      )}
      {answer && message.replyTo && (
        <IconButton
          icon="refresh"
          label="Answer again"
          disabled={busy}
          onClick={() => actions.regenerate(message)}
        />
      )}
      {answer && (
        <IconButton icon="branch" label="Fork from here" onClick={() => actions.fork(message)} />
      )}
      <Time seconds={message.createdAt} />
      <Usage metadata={message.metadata} />
    </footer>
  );
}

/** Model, tokens and cost of an answer, if its agent reports them. */
function Usage({ metadata }: { metadata: Message["metadata"] }) {
  const usage = metadata?.usage as { inputTokens?: unknown; outputTokens?: unknown } | undefined;
  const figures: string[] = [];
  if (typeof metadata?.model === "string") figures.push(metadata.model);
  const input = numberOf(usage?.inputTokens);
  const output = numberOf(usage?.outputTokens);
  const cost = numberOf(metadata?.cost) ?? 0;
  if (input !== undefined) figures.push(`${count(input)} tokens in`);
  if (output !== undefined) figures.push(`${count(output)} out`);
  if (cost > 0) figures.push(dollars(cost));
  return figures.length ? <span className="usage">{figures.join(" · ")}</span> : null;
}

type OutgoingGiven = {
  message: Pick<Message, "id" | "parts">;
  error: string | undefined;
  onAgain: () => void;
  onDrop: () => void;
};

/** A message that the server has not stored. */
export function OutgoingView({ message, error, onAgain, onDrop }: OutgoingGiven) {
  return (
    <article className="message user outgoing" aria-label="You said, not sent yet">
      <Said message={{ content: textOf(message.parts), parts: message.parts }} />
      <p className={error ? "outcome error" : "outcome"} role={error ? "alert" : undefined}>
        {error ? <Icon name="warning" /> : null}
        {error ?? "Sending…"}
        {error && (
          <>
            <button type="button" className="link" onClick={onAgain}>
              Try again
            </button>
            <button type="button" className="link" onClick={onDrop}>
              Discard
            </button>
          </>
        )}
      </p>
    </article>
  );
}

import { type FormEvent, useEffect, useMemo, useRef, useState } from "react";
import { type Entry, fieldAtFault, outputOf } from "../wire/form.ts";
import { isObject } from "../wire/json.ts";
import { formOf } from "../wire/schema.ts";
import type { Question, ToolCallPart } from "../wire/types.ts";
import { Fields } from "./Fields.tsx";
import { FieldView } from "./FieldView.tsx";
import { LongText } from "./LongText.tsx";
import { useSession } from "./session-context.ts";
import { shown, unhidden } from "./text.ts";
import { Refusal, useAnswer } from "./use-answer.tsx";

const DECLINED = "The user declined to answer.";

type Given = { call: ToolCallPart; question: Question };

/** An agent asks for the output of a tool call: a form of the question's schema. */
export function QuestionForm({ call, question }: Given) {
  const { schema } = question;
  // The schema of a question never changes, but every event about its call brings it again.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the id stands for it
  const form = useMemo(() => formOf(schema), [question.id]);
  const [entries, setEntries] = useWritten(
    question.id,
    form.fields.map((field) => field.initial),
  );
  const [problems, setProblems] = useState<string[]>([]);
  const { give, busy, refusal } = useAnswer(question.id);
  const box = useRef<HTMLFormElement>(null);
  const fault = refusal ? fieldAtFault(form, refusal) : -1;

  // Where something is wrong, the user continues.
  useEffect(() => {
    if (!refusal && !problems.some(Boolean)) return;
    const stops = ".wrong :is(input, select, textarea), .question-buttons .primary";
    box.current?.querySelector<HTMLElement>(stops)?.focus();
  }, [refusal, problems]);

  const send = (event: FormEvent) => {
    event.preventDefault();
    if (busy) return;
    const filled = outputOf(form, entries);
    setProblems("problems" in filled ? filled.problems : []);
    if ("output" in filled) void give(filled);
  };

  return (
    <form ref={box} noValidate onSubmit={send}>
      <Prompt call={call} />
      {form.title && <p className="form-title">{unhidden(form.title)}</p>}
      {form.description && <p className="plain">{unhidden(form.description)}</p>}
      {!form.isDrawn && schema !== undefined && (
        <div>
          <p className="aside">The answer must match this JSON Schema:</p>
          <LongText text={shown(schema)} label="JSON Schema" live={false} />
        </div>
      )}
      {form.fields.map((field, at) => (
        <FieldView
          key={field.name}
          field={field}
          entry={entries[at] ?? field.initial}
          problem={problems[at] ?? ""}
          refused={fault === at}
          onChange={(entry) =>
            setEntries(entries.map((other, one) => (one === at ? entry : other)))
          }
        />
      ))}
      <Refusal text={refusal} />
      <div className="question-buttons">
        <button type="submit" className="primary" disabled={busy}>
          Send
        </button>
        <button type="button" disabled={busy} onClick={() => give({ error: DECLINED })}>
          Decline
        </button>
      </div>
    </form>
  );
}

/** What the agent asks: its message, or the input of the call. */
function Prompt({ call }: { call: ToolCallPart }) {
  const input = call.toolInput;
  const message = isObject(input) && typeof input.message === "string" ? input.message : null;
  const isEmpty = isObject(input) && !Object.keys(input).length;
  return (
    <>
      <p>
        <strong>{unhidden(call.toolName)}</strong> asks for input.
      </p>
      {message !== null ? (
        <p className="plain">{unhidden(message)}</p>
      ) : (
        !isEmpty && <Fields value={input} label="What it asks" />
      )}
    </>
  );
}

/** What is in the fields. It is kept when the form is scrolled out of view. */
function useWritten(id: string, initial: Entry[]): [Entry[], (entries: Entry[]) => void] {
  const { written } = useSession();
  const [entries, setEntries] = useState(written.get(id) ?? initial);
  return [
    entries,
    (changed) => {
      written.set(id, changed);
      setEntries(changed);
    },
  ];
}

import { useId, useState } from "react";
import { approve } from "../wire/api.ts";
import { isObject } from "../wire/json.ts";
import type { ToolCallPart } from "../wire/types.ts";
import { Fields } from "./Fields.tsx";
import { attempt } from "./notices.tsx";
import { useSession } from "./session-context.ts";
import { unhidden } from "./text.ts";

type Option = { label: string; description?: string };
type Question = { question: string; options: Option[]; multiple: boolean };

/** An agent asks for permission to run a tool call, or asks a question by one. */
export function ApprovalView({ call }: { call: ToolCallPart }) {
  const session = useSession();
  const [message, setMessage] = useState("");
  const [chosen, setChosen] = useState<Record<number, string>>({});
  const [busy, setBusy] = useState(false);
  const field = useId();
  const questions = questionsOf(call.toolInput);
  const id = call.approval?.id ?? "";

  const answer = async (yes: boolean, always = false) => {
    setBusy(true);
    const lines = questions.map((question, at) => chosen[at] ?? question.options[0]?.label ?? "");
    const text = questions.length && yes ? lines.join("\n") : message;
    const said = text.trim() ? { message: text } : {};
    if (!(await attempt(approve(session.id, id, { approve: yes, always, ...said })))) {
      setBusy(false);
    }
  };

  return (
    <section
      className="approval"
      aria-label={`${unhidden(call.toolName)} asks ${questions.length ? "a question" : "for permission"}`}
    >
      {questions.length ? (
        questions.map((question, at) => (
          <fieldset key={question.question}>
            <legend>{unhidden(question.question)}</legend>
            {question.options.map((option, index) => (
              <label key={option.label}>
                <input
                  type="radio"
                  name={`${field}-${at}`}
                  defaultChecked={index === 0}
                  onChange={() => setChosen({ ...chosen, [at]: option.label })}
                />
                <span>
                  {unhidden(option.label)}
                  {option.description && <small>{unhidden(option.description)}</small>}
                </span>
              </label>
            ))}
          </fieldset>
        ))
      ) : (
        <>
          <p>
            May <strong>{unhidden(call.toolName)}</strong> run?
          </p>
          <Fields value={call.toolInput} label="What it wants to do" />
          <input
            type="text"
            value={message}
            aria-label="Note to the agent"
            placeholder="Note to the agent (optional)"
            onChange={(event) => setMessage(event.target.value)}
          />
        </>
      )}
      <div className="approval-buttons">
        <button type="button" className="primary" disabled={busy} onClick={() => answer(true)}>
          {questions.length ? "Answer" : "Allow"}
        </button>
        {!questions.length && (
          <button type="button" disabled={busy} onClick={() => answer(true, true)}>
            Always allow
          </button>
        )}
        <button type="button" disabled={busy} onClick={() => answer(false)}>
          {questions.length ? "Dismiss" : "Deny"}
        </button>
      </div>
    </section>
  );
}

/** The questions with options in a call's input; empty for a plain call. */
function questionsOf(input: unknown): Question[] {
  const list = Array.isArray(input) ? input : isObject(input) ? input.questions : [];
  if (!Array.isArray(list)) return [];
  const questions = list.filter(
    (one): one is Question =>
      typeof one?.question === "string" &&
      Array.isArray(one.options) &&
      one.options.length > 0 &&
      one.options.every((option: unknown) => typeof (option as Option)?.label === "string"),
  );
  return questions.length === list.length ? questions : [];
}

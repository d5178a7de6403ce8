import { useId, useState } from "react";
import { isObject } from "../wire/json.ts";
import type { Question, ToolCallPart } from "../wire/types.ts";
import { Fields } from "./Fields.tsx";
import { QuestionForm } from "./QuestionForm.tsx";
import { unhidden } from "./text.ts";
import { Refusal, useAnswer } from "./use-answer.tsx";

type Choice = { label: string; description?: string };
type Choices = { question: string; options: Choice[]; multiple: boolean };
type Given = { call: ToolCallPart; question: Question };

/** An agent asks something about a tool call. */
export function QuestionView({ call, question }: Given) {
  const choices = question.kind === "approval" ? choicesOf(call.toolInput) : [];
  const what =
    question.kind === "output" ? "for input" : choices.length ? "a question" : "for permission";
  return (
    <section className="question" aria-label={`${unhidden(call.toolName)} asks ${what}`}>
      {question.kind === "output" ? (
        <QuestionForm call={call} question={question} />
      ) : choices.length ? (
        <ChoiceForm choices={choices} question={question} />
      ) : (
        <ApprovalForm call={call} question={question} />
      )}
    </section>
  );
}

/** May the tool run? */
function ApprovalForm({ call, question }: Given) {
  const { give, busy, refusal } = useAnswer(question.id);
  const [message, setMessage] = useState("");
  const answer = (approve: boolean, always = false) =>
    give({ approve, always, ...(message.trim() ? { message } : {}) });
  return (
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
      <Refusal text={refusal} />
      <div className="question-buttons">
        <button type="button" className="primary" disabled={busy} onClick={() => answer(true)}>
          Allow
        </button>
        <button type="button" disabled={busy} onClick={() => answer(true, true)}>
          Always allow
        </button>
        <button type="button" disabled={busy} onClick={() => answer(false)}>
          Deny
        </button>
      </div>
    </>
  );
}

/** The agent's own questions with options: a line of the note answers each of them. */
function ChoiceForm({ choices, question }: { choices: Choices[]; question: Question }) {
  const { give, busy, refusal } = useAnswer(question.id);
  const [chosen, setChosen] = useState<Record<number, string>>({});
  const field = useId();
  const lines = choices.map((one, at) => chosen[at] ?? one.options[0]?.label ?? "");
  return (
    <>
      {choices.map((one, at) => (
        <fieldset key={one.question}>
          <legend>{unhidden(one.question)}</legend>
          {one.options.map((option, index) => (
            <label key={option.label} className="option">
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
      ))}
      <Refusal text={refusal} />
      <div className="question-buttons">
        <button
          type="button"
          className="primary"
          disabled={busy}
          onClick={() => give({ approve: true, message: lines.join("\n") })}
        >
          Answer
        </button>
        <button type="button" disabled={busy} onClick={() => give({ approve: false })}>
          Dismiss
        </button>
      </div>
    </>
  );
}

/** The questions with options in a call's input; empty for a plain call. */
function choicesOf(input: unknown): Choices[] {
  const list = Array.isArray(input) ? input : isObject(input) ? input.questions : [];
  if (!Array.isArray(list)) return [];
  const choices = list.filter(
    (one): one is Choices =>
      typeof one?.question === "string" &&
      Array.isArray(one.options) &&
      one.options.length > 0 &&
      one.options.every((option: unknown) => typeof (option as Choice)?.label === "string"),
  );
  return choices.length === list.length ? choices : [];
}

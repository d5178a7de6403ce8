import { isObject } from "../wire/json.ts";
import { openQuestion, type Question, type ToolCallPart } from "../wire/types.ts";
import { Fields } from "./Fields.tsx";
import { Fold } from "./Fold.tsx";
import { Icon } from "./icons.tsx";
import { LongText } from "./LongText.tsx";
import { QuestionView } from "./QuestionView.tsx";
import { shown, unhidden } from "./text.ts";

const STATES = { pending: "pending", running: "running", complete: "done", error: "failed" };

const OUTCOMES = {
  approved: "Permission was granted.",
  denied: "Permission was denied.",
  answered: "The question was answered.",
};

/** A tool call in one line, which opens to show its input and output. */
export function ToolCall({ id, call }: { id: string; call: ToolCallPart }) {
  const open = openQuestion(call);
  const label = open ? "waiting" : STATES[call.state];
  return (
    <>
      <Fold
        id={id}
        className={`tool ${open ? "asks" : call.state}`}
        summary={
          <>
            <Icon name="tool" />
            <span className="tool-name">{unhidden(call.toolName)}</span>
            <span className="tool-gist">{unhidden(gist(call.toolInput))}</span>
            <span className="badge">{label}</span>
          </>
        }
      >
        {() => (
          <>
            <h4>Input</h4>
            <Fields value={call.toolInput} label="Input" />
            {call.toolOutput !== undefined && (
              <>
                <h4>Output</h4>
                <LongText
                  text={shown(call.toolOutput)}
                  label="Output"
                  live={call.state === "running"}
                />
              </>
            )}
            {call.error !== undefined && (
              <>
                <h4>Error</h4>
                <LongText text={call.error} label="Error" live={false} />
              </>
            )}
            {call.question && <Outcome question={call.question} />}
          </>
        )}
      </Fold>
      {open && <QuestionView key={open.id} call={call} question={open} />}
    </>
  );
}

/** What became of a question, and what a person wrote with the answer. */
function Outcome({ question: { kind, state, message } }: { question: Question }) {
  if (state === "open") return null;
  const expired = kind === "approval" ? "The request for permission" : "The question";
  return (
    <>
      <p className="aside">{state === "expired" ? `${expired} expired.` : OUTCOMES[state]}</p>
      {message && <LongText text={message} label="Note to the agent" live={false} />}
    </>
  );
}

/** A summary of the input in one line. */
function gist(input: unknown): string {
  if (typeof input === "string") return oneLine(input);
  if (!isObject(input) && !Array.isArray(input)) return "";
  const values = Object.values(input);
  const text = values.find((value) => typeof value === "string" && value !== "");
  return typeof text === "string" ? oneLine(text) : "";
}

function oneLine(text: string): string {
  return text.slice(0, 200).replace(/\s+/g, " ");
}

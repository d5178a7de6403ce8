import { isObject } from "../wire/json.ts";
import type { DataPart, FilePart, Json, Part, ToolResultPart } from "../wire/types.ts";
import { Elsewhere } from "./Elsewhere.tsx";
import { Fold } from "./Fold.tsx";
import { Icon } from "./icons.tsx";
import { LongText } from "./LongText.tsx";
import { Markdown } from "./Markdown.tsx";
import { ToolCall } from "./ToolCall.tsx";
import { ownImage, shown, unhidden } from "./text.ts";

type Given = { part: Part; id: string; growing: boolean };

/** One part of an answer. */
export function PartView({ part, id, growing }: Given) {
  switch (part.type) {
    case "text":
      return <Markdown text={part.content} growing={growing} />;
    case "reasoning":
      return (
        <Fold id={id} className="reasoning" summary={growing ? "Thinking…" : "Thoughts"}>
          {() => <Markdown text={part.content} growing={growing} />}
        </Fold>
      );
    case "tool-call":
      return <ToolCall id={id} call={part} />;
    case "tool-result":
      return <ToolResult id={id} result={part} />;
    case "file":
      return <File file={part} />;
    case "source":
      return <Source url={part.url} title={part.title} />;
    case "data":
      return <Data id={id} part={part} />;
    default:
      return null; // from a newer server
  }
}

function ToolResult({ id, result }: { id: string; result: ToolResultPart }) {
  return (
    <Fold id={id} className="tool" summary={`Result of ${unhidden(result.toolName)}`}>
      {() => <LongText text={shown(result.toolOutput)} label="Output" live={false} />}
    </Fold>
  );
}

export function File({ file }: { file: FilePart }) {
  const name = unhidden(file.filename ?? file.mediaType);
  const image = file.mediaType.startsWith("image/") ? ownImage(file.url) : undefined;
  if (image) return <img className="file-image" src={image} alt={name} />;
  if (!file.url.startsWith("data:")) return <Source url={file.url} title={name} />;
  // The file is saved and never opened, because its content is not trusted.
  return (
    <a className="file" href={file.url} download={file.filename ? name : "file"}>
      <Icon name="file" />
      <bdi>{name}</bdi>
    </a>
  );
}

function Source({ url, title }: { url: string; title: string | undefined }) {
  return (
    <Elsewhere to={url} className="file">
      <Icon name="link" />
      <bdi>{unhidden(title || url)}</bdi>
    </Elsewhere>
  );
}

type Step = { content: string; status: string };

function stepsOf(data: Json): Step[] | null {
  if (!Array.isArray(data)) return null;
  const steps = data.filter(
    (step): step is Step => isObject(step) && "content" in step && "status" in step,
  );
  return steps.length === data.length ? steps : null;
}

function Data({ id, part }: { id: string; part: DataPart }) {
  const steps = part.name === "plan" ? stepsOf(part.data) : null;
  if (steps) {
    return (
      <ul className="plan" aria-label="Plan">
        {steps.map((step) => (
          <li key={step.content} className={String(step.status)}>
            <span className="plan-mark" role="img" aria-label={String(step.status)} />
            {unhidden(String(step.content))}
          </li>
        ))}
      </ul>
    );
  }
  return (
    <Fold id={id} className="data" summary={unhidden(part.name)}>
      {() => <LongText text={shown(part.data)} label={part.name} live={false} />}
    </Fold>
  );
}

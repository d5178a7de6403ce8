import { type ReactNode, useId } from "react";
import type { Entry, Field } from "../wire/form.ts";
import { unhidden } from "./text.ts";

/** With more options than this, or none of them needed, they are in a list that opens. */
const FEW = 6;
const INPUT_TYPES: Record<string, string> = { email: "email", uri: "url", date: "date" };

type Given = {
  field: Field;
  entry: Entry;
  /** What is wrong with it; empty if nothing is known to be. */
  problem: string;
  /** The server's refusal of the form is about it. */
  refused: boolean;
  onChange: (entry: Entry) => void;
};

type Attributes = {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": true | undefined;
};

/** One field of a form, with its description and what is wrong with it. */
export function FieldView(given: Given) {
  const { field, problem, refused } = given;
  const id = useId();
  const about = field.description ? `${id}-about` : "";
  const wrong = problem ? `${id}-problem` : "";
  const attributes: Attributes = {
    id,
    "aria-describedby": [about, wrong].filter(Boolean).join(" ") || undefined,
    "aria-invalid": wrong !== "" || refused || undefined,
  };
  const notes = (
    <>
      {about && <small id={about}>{unhidden(field.description)}</small>}
      {wrong && (
        <p id={wrong} className="problem">
          {unhidden(problem)}
        </p>
      )}
    </>
  );
  const className = attributes["aria-invalid"] ? "field wrong" : "field";
  const isSet = field.kind === "choices" || (field.kind === "choice" && isShort(field));
  if (isSet)
    return <OptionSet {...given} className={className} attributes={attributes} notes={notes} />;
  return (
    <div className={className}>
      {field.kind === "boolean" ? (
        <Box {...given} attributes={attributes} />
      ) : (
        <>
          <label htmlFor={id}>
            <Label field={field} />
          </label>
          <Control {...given} attributes={attributes} />
        </>
      )}
      {notes}
    </div>
  );
}

function isShort(field: Field): boolean {
  return field.required && field.options.length <= FEW;
}

function Label({ field }: { field: Field }) {
  return (
    <>
      {unhidden(field.label)}
      {!field.required && <span className="aside"> (optional)</span>}
    </>
  );
}

type PartGiven = Given & { attributes: Attributes };

function Box({ field, entry, attributes, onChange }: PartGiven) {
  return (
    <label className="option">
      <input
        {...attributes}
        type="checkbox"
        checked={entry === true}
        onChange={(event) => onChange(event.target.checked)}
      />
      <span>{unhidden(field.label)}</span>
    </label>
  );
}

type OptionsGiven = PartGiven & { className: string; notes: ReactNode };

/** Radio buttons, or boxes of which several can be ticked. */
function OptionSet({ field, entry, className, attributes, notes, onChange }: OptionsGiven) {
  const chosen = Array.isArray(entry) ? entry : [];
  const many = field.kind === "choices";
  return (
    <fieldset className={className} aria-describedby={attributes["aria-describedby"]}>
      <legend>
        <Label field={field} />
      </legend>
      {field.options.map((option, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: an option's place is what it is
        <label key={at} className="option">
          <input
            type={many ? "checkbox" : "radio"}
            name={attributes.id}
            checked={chosen.includes(at)}
            onChange={(event) => {
              const others = many ? chosen.filter((one) => one !== at) : [];
              onChange(event.target.checked ? [...others, at] : others);
            }}
          />
          <span>{unhidden(option.label)}</span>
        </label>
      ))}
      {notes}
    </fieldset>
  );
}

/** A field to write in, or a list that opens. */
function Control(parts: PartGiven) {
  const { field, entry, attributes, onChange } = parts;
  if (field.kind === "choice") return <List {...parts} />;
  const given = {
    ...attributes,
    "aria-required": field.required,
    dir: "auto",
    value: typeof entry === "string" ? entry : "",
    onChange: (event: { target: { value: string } }) => onChange(event.target.value),
  };
  if (field.kind === "lines") return <textarea {...given} rows={4} />;
  if (field.kind === "json") {
    return <textarea {...given} className="json" rows={4} spellCheck={false} />;
  }
  const type = field.kind === "text" ? INPUT_TYPES[field.format] : undefined;
  return <input {...given} type={type ?? "text"} autoComplete="off" />;
}

function List({ field, entry, attributes, onChange }: PartGiven) {
  return (
    <select
      {...attributes}
      aria-required={field.required}
      value={Array.isArray(entry) ? (entry[0] ?? "") : ""}
      onChange={({ target }) => onChange(target.value === "" ? [] : [Number(target.value)])}
    >
      <option value="">–</option>
      {field.options.map((option, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: an option's place is what it is
        <option key={at} value={at}>
          {unhidden(option.label)}
        </option>
      ))}
    </select>
  );
}

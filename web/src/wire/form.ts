/** Forms of questions: their fields, and the output that comes of what a person writes into them. */

import { numberOf, parseJson } from "./json.ts";
import type { Json } from "./types.ts";

/** `lines` is a text of several lines, `json` any value. */
export type Kind =
  | "text"
  | "lines"
  | "number"
  | "integer"
  | "boolean"
  | "choice"
  | "choices"
  | "json";

export type Option = { label: string; value: Json };

/** What a field contains: a text, whether its box is ticked, or the places of the chosen options. */
export type Entry = string | boolean | number[];

export type Field = {
  /** The name in the output; empty for a field that is all of the output. */
  name: string;
  label: string;
  description: string;
  kind: Kind;
  format: string;
  required: boolean;
  options: Option[];
  /** What an empty field stands for, if it may be empty although it is required. */
  empty: Json | undefined;
  initial: Entry;
};

export type Form = {
  title: string;
  description: string;
  fields: Field[];
  /** The output is an object of the fields, and not the value of the only one. */
  isObject: boolean;
  /** The fields are those of the schema, and not one for any JSON. */
  isDrawn: boolean;
};

/** The output, or what is wrong with each field; empty for one that is right. */
export type Filled = { output: Json } | { problems: string[] };

type Read = { value?: Json; problem?: string };

export function outputOf(form: Form, entries: Entry[]): Filled {
  const read = form.fields.map((field, at) => readField(field, entries[at] ?? field.initial));
  if (read.some(({ problem }) => problem)) {
    return { problems: read.map(({ problem }) => problem ?? "") };
  }
  if (!form.isObject) return { output: read[0]?.value ?? null };
  const given = form.fields.map((field, at) => [field.name, read[at]?.value] as const);
  return { output: Object.fromEntries(given.filter(has)) };
}

/** The place of the field that a refusal of the server is about; -1 if it is about none. */
export function fieldAtFault(form: Form, refusal: string): number {
  if (!form.isObject) return 0;
  return form.fields.findIndex(({ name }) =>
    ["`", "/"].some((end) => refusal.includes(`\`output/${name}${end}`)),
  );
}

function has(pair: readonly [string, Json | undefined]): pair is readonly [string, Json] {
  return pair[1] !== undefined;
}

const MISSING = {
  text: "Fill in this field.",
  lines: "Fill in this field.",
  number: "Enter a number.",
  integer: "Enter a whole number.",
  choice: "Choose an option.",
  json: "Write the answer as JSON.",
};

function readField(field: Field, entry: Entry): Read {
  if (typeof entry === "boolean") return { value: entry };
  if (field.kind === "choices" && Array.isArray(entry)) {
    const chosen = field.options.filter((_, at) => entry.includes(at));
    if (!chosen.length && !field.required) return {};
    return { value: chosen.map((option) => option.value) };
  }
  if (field.kind === "boolean" || field.kind === "choices") return {};
  if (Array.isArray(entry)) {
    const value = field.options[entry[0] ?? -1]?.value;
    return value === undefined ? missing(field, MISSING.choice) : { value };
  }
  const isText = field.kind === "text" || field.kind === "lines";
  if (!(isText ? entry : entry.trim())) return missing(field, MISSING[field.kind]);
  if (isText) return { value: entry };
  return field.kind === "json" ? readJson(entry) : readNumber(field, entry.trim());
}

function missing(field: Field, problem: string): Read {
  if (!field.required) return {};
  return field.empty === undefined ? { problem } : { value: field.empty };
}

function readJson(written: string): Read {
  try {
    return { value: parseJson(written) as Json };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { problem: `This is not JSON: ${why}` };
  }
}

/** A number as it was written: JavaScript's would lose digits. */
function readNumber(field: Field, written: string): Read {
  const { value } = readJson(written);
  const number = numberOf(value);
  const isRight = field.kind === "integer" ? Number.isInteger(number) : number !== undefined;
  return isRight && value !== undefined
    ? { value }
    : { problem: field.kind === "integer" ? MISSING.integer : MISSING.number };
}

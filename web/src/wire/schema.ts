/** Reads a JSON Schema as the fields of a form: a flat object, or a single value. */

import type { Entry, Field, Form, Kind, Option } from "./form.ts";
import { isObject, numberOf, toJson } from "./json.ts";
import type { Json } from "./types.ts";

type Schema = Record<string, unknown>;

/** How many references of a schema are followed. */
const DEPTH = 8;
/** A text that may have more characters gets several lines. */
const LONG = 200;

/** Rules that a form does not know, so that it could ask for what they forbid. */
const UNKNOWN = ["allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas"];

/** The form for an output; one field for JSON if the schema is missing, or cannot be drawn. */
export function formOf(schema: unknown): Form {
  const known = resolved(schema, schema);
  const form = { title: text(known?.title), description: text(known?.description) };
  if (known?.type === "object") {
    const fields = fieldsOf(known, schema);
    if (fields) return { ...form, fields, isObject: true, isDrawn: true };
  } else if (known) {
    const { title: _, description: __, ...value } = known;
    const field = fieldOf("", value, schema, true);
    const fields = field && [{ ...field, label: form.title || "Answer" }];
    if (fields) return { ...form, title: "", fields, isObject: false, isDrawn: true };
  }
  return { ...form, fields: [jsonField(known?.default)], isObject: false, isDrawn: false };
}

function jsonField(value: unknown): Field {
  const initial = value === undefined ? "" : toJson(value, 2);
  return { ...PLAIN, label: "Answer as JSON", kind: "json", required: true, initial };
}

const PLAIN = {
  name: "",
  description: "",
  format: "",
  options: [],
  empty: undefined,
} satisfies Partial<Field>;

/** The fields of an object; null if one of them cannot be drawn. */
function fieldsOf(schema: Schema, root: unknown): Field[] | null {
  const { properties } = schema;
  if (!isObject(properties) || UNKNOWN.some((rule) => rule in schema)) return null;
  const required = Array.isArray(schema.required) ? schema.required : [];
  if (required.some((name) => !Object.hasOwn(properties, name))) return null;
  const fields: Field[] = [];
  for (const [name, property] of Object.entries(properties)) {
    const field = fieldOf(name, property, root, required.includes(name));
    if (!field) return null;
    fields.push(field);
  }
  return fields;
}

function fieldOf(name: string, given: unknown, root: unknown, required: boolean): Field | null {
  const schema = resolved(given, root);
  if (!schema) return null;
  const many = schema.type === "array" && schema.uniqueItems !== false;
  const options = optionsOf(many ? resolved(schema.items, root) : schema, schema.nullable === true);
  const kind = options ? (many ? "choices" : "choice") : kindOf(schema);
  if (!kind) return null;
  return {
    name,
    label: text(schema.title) || name,
    description: text(schema.description),
    kind,
    format: text(schema.format),
    required,
    options: options ?? [],
    empty: schema.nullable === true ? null : schema.default === "" ? "" : undefined,
    initial: initialOf(kind, schema.default, options ?? []),
  };
}

function kindOf(schema: Schema): Kind | null {
  if (UNKNOWN.some((rule) => rule in schema)) return null;
  switch (schema.type) {
    case "string":
      return isLong(schema) ? "lines" : "text";
    case "number":
    case "integer":
    case "boolean":
      return schema.type;
    default:
      return null;
  }
}

function isLong({ format, maxLength, contentMediaType, default: value }: Schema): boolean {
  return (
    format === "multiline" ||
    (numberOf(maxLength) ?? 0) > LONG ||
    text(contentMediaType).startsWith("text/") ||
    text(value).includes("\n")
  );
}

/** The values that a schema allows, if it names them. */
function optionsOf(schema: Schema | null, nullable: boolean): Option[] | null {
  if (!schema) return null;
  const listed = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(listed)) {
    const named = listed.every((one) => isObject(one) && isScalar(one.const));
    return named
      ? listed.map((one) => ({ label: text(one.title) || labelOf(one.const), value: one.const }))
      : null;
  }
  if (isScalar(schema.const)) return [{ label: labelOf(schema.const), value: schema.const }];
  if (Array.isArray(schema.enum)) {
    const names = Array.isArray(schema.enumNames) ? schema.enumNames : [];
    return schema.enum.every(isScalar)
      ? schema.enum.map((value, at) => ({ label: text(names[at]) || labelOf(value), value }))
      : null;
  }
  // A box to tick has two states, and this has three.
  if (schema.type !== "boolean" || !nullable) return null;
  return [
    { label: "Yes", value: true },
    { label: "No", value: false },
  ];
}

function initialOf(kind: Kind, value: unknown, options: Option[]): Entry {
  const known = options.map((option) => toJson(option.value));
  switch (kind) {
    case "boolean":
      return value === true;
    case "choice": {
      const at = value === undefined ? -1 : known.indexOf(toJson(value));
      return at < 0 ? [] : [at];
    }
    case "choices": {
      const chosen = Array.isArray(value) ? value.map((one) => toJson(one)) : [];
      return known.flatMap((one, at) => (chosen.includes(one) ? [at] : []));
    }
    default:
      return typeof value === "string" || numberOf(value) !== undefined ? String(value) : "";
  }
}

/** A schema without its references; `nullable` if it also allows null. Null if that is not possible. */
function resolved(schema: unknown, root: unknown, depth = 0): Schema | null {
  if (!isObject(schema) || depth > DEPTH) return null;
  const { $ref, allOf, anyOf, ...own } = schema;
  if (typeof $ref === "string") return merged(pointedAt($ref, root), schema, "$ref");
  if (Array.isArray(allOf) && allOf.length === 1) return merged(allOf[0], schema, "allOf");
  if (Array.isArray(anyOf)) {
    const others = anyOf.filter((one) => !isObject(one) || one.type !== "null");
    if (others.length === 1 && anyOf.length === 2) {
      const inner = resolved(others[0], root, depth + 1);
      return inner && { ...inner, ...own, nullable: true };
    }
  }
  if (!Array.isArray(schema.type)) return schema;
  const types = schema.type.filter((type) => type !== "null");
  if (types.length !== 1) return null;
  return { ...schema, type: types[0], nullable: types.length < schema.type.length };

  function merged(inner: unknown, outer: Schema, without: string): Schema | null {
    const { [without]: _, ...rest } = outer;
    const found = resolved(inner, root, depth + 1);
    return found && resolved({ ...found, ...rest }, root, depth + 1);
  }
}

/** What a reference within the schema leads to, as `#/$defs/Size`. */
function pointedAt(reference: string, root: unknown): unknown {
  if (!reference.startsWith("#/")) return undefined;
  let found: unknown = root;
  for (const step of reference.slice(2).split("/")) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
    if (!isObject(found) || !Object.hasOwn(found, name)) return undefined;
    found = found[name];
  }
  return found;
}

function isScalar(value: unknown): value is Json {
  return (
    value === null ||
    typeof value === "string" ||
    typeof value === "boolean" ||
    numberOf(value) !== undefined
  );
}

function labelOf(value: unknown): string {
  return typeof value === "string" ? value : toJson(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/**
 * JSON whose numbers stay as they were written. JavaScript's numbers would change some of them:
 * 653247040368672768 becomes 653247040368672800, 1.0 becomes 1, and 1e400 is none.
 */

import { newId } from "./ids.ts";

/** A number that JavaScript would write in another way. It calculates as that number. */
export class Numeral {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  toString(): string {
    return this.source;
  }

  valueOf(): number {
    return Number(this.source);
  }
}

/** Begins texts that stand for a number. It is random, so that no text from elsewhere begins so. */
const MARK = `number ${newId()} `;
const MARKED = new RegExp(`"${MARK}([^"]*)"`, "g");

type Context = { source?: string } | undefined;

function isSame(source: string): boolean {
  return String(Number(source)) === source;
}

function revived(_name: string, value: unknown, context?: Context): unknown {
  if (typeof value === "number") {
    const source = context?.source;
    // `String(-0)` is "0".
    return source === undefined || isSame(source) ? value : new Numeral(source);
  }
  const isMarked = typeof value === "string" && value.startsWith(MARK);
  return isMarked ? new Numeral(value.slice(MARK.length)) : value;
}

/** Whether this browser's parser says how a number was written. */
const knowsSource = (() => {
  let known = false;
  const look = (_name: string, _value: unknown, context?: Context) => {
    known = context?.source === "1.0";
  };
  JSON.parse("1.0", look);
  return known;
})();

/** Throws a SyntaxError for a text that is not JSON. */
export function parseJson(text: string, marks = !knowsSource): unknown {
  return JSON.parse(marks ? marked(text) : text, revived);
}

/** The inverse of `parseJson`. */
export function toJson(value: unknown, indent?: number): string {
  let some = false;
  const text = JSON.stringify(
    value,
    (_name, one) => {
      if (!(one instanceof Numeral)) return one;
      some = true;
      return MARK + one.source;
    },
    indent,
  );
  return some ? text.replace(MARKED, "$1") : text;
}

/** Whether a value of JSON has fields. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Numeral)
  );
}

/** A number of JSON as JavaScript calculates with it; undefined for anything else. */
export function numberOf(value: unknown): number | undefined {
  return typeof value === "number" || value instanceof Numeral ? Number(value) : undefined;
}

/** The same JSON with texts in place of the numbers that JavaScript would change. */
function marked(text: string): string {
  const token = /"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  const pieces: string[] = [];
  let copied = 0;
  for (let found = token.exec(text); found; found = token.exec(text)) {
    const [source] = found;
    if (source === '"') {
      token.lastIndex = endOfText(text, token.lastIndex);
    } else if (!isSame(source)) {
      pieces.push(text.slice(copied, found.index), `"${MARK}${source}"`);
      copied = token.lastIndex;
    }
  }
  return pieces.join("") + text.slice(copied);
}

/** The place after the text in quotation marks whose content starts here. */
function endOfText(text: string, start: number): number {
  for (let at = start; ; ) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}

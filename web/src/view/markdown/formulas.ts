/**
 * Formulas in LaTeX are shown as they were written: Markdown would take their backslashes and
 * underscores for its own. Between `\(` and `\)`, `\[` and `\]`, or two `$$` they become code;
 * between two `$` they stay text, because that may also be about money.
 */

import type { CompileContext, Extension as MdastExtension, Token } from "mdast-util-from-markdown";
import type { Code, Construct, Extension, State, Tokenizer } from "micromark-util-types";

declare module "micromark-util-types" {
  interface TokenTypeMap {
    formula: "formula";
    formulaBlock: "formulaBlock";
    formulaData: "formulaData";
  }
}

const BACKSLASH = 92;
const DOLLAR = 36;
/** What may follow the end of a block in its line: blanks, and `,` `.` or `;`. */
const MAY_FOLLOW = new Set<Code>([-2, -1, 32, 44, 46, 59]);
/** Characters between two `$`. */
const LONGEST = 300;

const isLineEnd = (code: Code) => code !== null && code < -2;
const isBlank = (code: Code) => code === -2 || code === -1 || code === 32;
const isWord = (code: Code) => code !== null && /\w/.test(String.fromCharCode(code));

/** The second character of what closes a formula; the first is the one that opened it. */
function closingOf(marker: Code, second: Code): Code {
  if (marker === DOLLAR) return second === DOLLAR ? DOLLAR : null;
  if (second === 40 /* ( */) return 41;
  return second === 91 /* [ */ ? 93 : null;
}

/** Whether each character, one after the other, completes `\)`, `\]` or `$$`; `\\` is a new line. */
function closer(marker: Code, closing: Code): (code: Code) => boolean {
  let half = false;
  return (code) => {
    const whole = half && code === closing;
    half = !half && code === marker;
    return whole;
  };
}

/** What a text opens and never closes: looking for its end at each opening would take too long. */
const unclosed = new WeakMap<object, Set<Code>>();

/** The same for blocks: the line before which what is opened, alone in its line or not, is not closed. */
const unclosedBefore = new WeakMap<object, Map<string, number>>();

const tokenizeFormula: Tokenizer = function (effects, ok, nok) {
  const never = unclosed.get(this) ?? new Set();
  unclosed.set(this, never);
  let marker: Code;
  let closing: Code;
  let closes: (code: Code) => boolean;

  const second: State = (code) => {
    closing = closingOf(marker, code);
    if (closing === null || never.has(closing)) return nok(code);
    closes = closer(marker, closing);
    effects.consume(code);
    return data;
  };
  const data: State = (code) => {
    if (code === null || isLineEnd(code)) {
      effects.exit("formulaData");
      return line(code);
    }
    effects.consume(code);
    return closes(code) ? end : data;
  };
  const line: State = (code) => {
    if (code === null) {
      never.add(closing);
      return nok(code);
    }
    if (!isLineEnd(code)) {
      effects.enter("formulaData");
      return data(code);
    }
    closes(code);
    effects.enter("lineEnding");
    effects.consume(code);
    effects.exit("lineEnding");
    return line;
  };
  const end: State = (code) => {
    effects.exit("formulaData");
    effects.exit("formula");
    return ok(code);
  };
  return (code) => {
    marker = code;
    effects.enter("formula");
    effects.enter("formulaData");
    effects.consume(code);
    return second;
  };
};

/** A formula of its own lines. It has no blank line, and nothing follows its end. */
const tokenizeBlock: Tokenizer = function (effects, ok, nok) {
  const { parser, now } = this;
  const before = unclosedBefore.get(parser) ?? new Map<string, number>();
  unclosedBefore.set(parser, before);
  let marker: Code;
  let closing: Code;
  let closes: (code: Code) => boolean;
  let alone = true; // nothing else stands in the first line
  let first = true;
  let blank = false;

  /** At a blank line or at the end, where only what stands alone in its line counts as closed. */
  const never = (code: Code) => {
    if (code !== null) before.set(`${closing} true`, now().line);
    before.set(`${closing} false`, now().line);
    return nok(code);
  };
  const second: State = (code) => {
    closing = code === 40 /* ( */ ? null : closingOf(marker, code);
    if (closing === null) return nok(code);
    closes = closer(marker, closing);
    effects.consume(code);
    return data;
  };
  const data: State = (code) => {
    if (code === null || isLineEnd(code)) {
      if (blank) return never(code);
      effects.exit("formulaData");
      return line(code);
    }
    if (!isBlank(code)) {
      blank = false;
      if (first) alone = false;
    }
    effects.consume(code);
    return closes(code) ? rest : data;
  };
  const line: State = (code) => {
    if (code === null) return alone ? end(code) : never(code);
    if (first && now().line < (before.get(`${closing} ${alone}`) ?? 0)) return nok(code);
    closes(code);
    effects.enter("lineEnding");
    effects.consume(code);
    effects.exit("lineEnding");
    return start;
  };
  const start: State = (code) => {
    if (code === null) return line(code);
    if (isLineEnd(code) || parser.lazy[now().line]) return never(code);
    first = false;
    blank = true;
    effects.enter("formulaData");
    return data(code);
  };
  const rest: State = (code) => {
    if (MAY_FOLLOW.has(code)) {
      effects.consume(code);
      return rest;
    }
    if (code !== null && !isLineEnd(code)) return nok(code);
    effects.exit("formulaData");
    return end(code);
  };
  const end: State = (code) => {
    effects.exit("formulaBlock");
    return ok(code);
  };
  return (code) => {
    marker = code;
    effects.enter("formulaBlock");
    effects.enter("formulaData");
    effects.consume(code);
    return second;
  };
};

/** `$x_1$`, but neither `$5 or $6` nor `$HOME and $PATH`. */
const tokenizeDollars: Tokenizer = function (effects, ok, nok) {
  let before: Code = this.previous;
  let length = 0;
  let isFormula = false;

  const inside: State = (code) => {
    if (code === null || isLineEnd(code) || ++length > LONGEST) return nok(code);
    if (length === 1 && (isBlank(code) || code === DOLLAR)) return nok(code);
    if (code === BACKSLASH || code === 94 /* ^ */ || code === 95 /* _ */) isFormula = true;
    effects.consume(code);
    if (code === DOLLAR && !isBlank(before) && before !== BACKSLASH) return closed;
    before = code;
    return inside;
  };
  const closed: State = (code) => {
    if (!isFormula || isWord(code)) return nok(code);
    effects.exit("data");
    return ok(code);
  };
  return (code) => {
    if (before === DOLLAR || isWord(before)) return nok(code);
    effects.enter("data");
    effects.consume(code);
    return inside;
  };
};

const inline: Construct = { name: "formula", tokenize: tokenizeFormula };
const block: Construct = { name: "formulaBlock", tokenize: tokenizeBlock, concrete: true };
const dollars: Construct = { name: "dollars", tokenize: tokenizeDollars };

export const formulas: Extension = {
  flow: { [BACKSLASH]: block, [DOLLAR]: block },
  text: { [BACKSLASH]: inline, [DOLLAR]: [inline, dollars] },
};

function leave(this: CompileContext, token: Token): void {
  const value = this.resume();
  const node = this.stack.at(-1);
  if (node && "value" in node) node.value = value;
  this.exit(token);
}

export const formulasFromMarkdown: MdastExtension = {
  enter: {
    formula(token) {
      this.enter({ type: "inlineCode", value: "" }, token);
      this.buffer();
    },
    formulaBlock(token) {
      this.enter({ type: "code", lang: "latex", value: "" }, token);
      this.buffer();
    },
    formulaData(token) {
      this.config.enter.data?.call(this, token);
    },
  },
  exit: {
    formula: leave,
    formulaBlock: leave,
    formulaData(token) {
      this.config.exit.data?.call(this, token);
    },
  },
};

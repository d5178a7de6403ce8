/**
 * Formulas in LaTeX are shown as they were written: Markdown would take their backslashes and
 * underscores for its own. Between `\(` and `\)`, `\[` and `\]`, or two `$$` they become code;
 * between two `$` they stay text, because that may also be about money.
 */

import type { CompileContext, Extension as MdastExtension, Token } from "mdast-util-from-markdown";
import type {
  Code,
  Construct,
  Effects,
  Extension,
  State,
  TokenizeContext,
  Tokenizer,
} from "micromark-util-types";

declare module "micromark-util-types" {
  interface TokenTypeMap {
    formula: "formula";
    formulaBlock: "formulaBlock";
    formulaData: "formulaData";
  }
}

const BACKSLASH = 92;
const DOLLAR = 36;
const ROUND = 40; // (
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
  if (second === ROUND) return 41;
  return second === 91 /* [ */ ? 93 : null;
}

/** Reads what is between two marks, of which a subclass says where they may be. */
abstract class Reader {
  protected readonly effects: Effects;
  protected readonly ok: State;
  protected readonly nok: State;
  protected marker: Code = null;
  protected closing: Code = null;
  #half = false;

  constructor(effects: Effects, ok: State, nok: State) {
    this.effects = effects;
    this.ok = ok;
    this.nok = nok;
  }

  protected abstract second: State;

  protected begin(type: "formula" | "formulaBlock", code: Code): State {
    this.marker = code;
    this.effects.enter(type);
    this.effects.enter("formulaData");
    this.effects.consume(code);
    return this.second;
  }

  protected lineEnd(code: Code): void {
    this.#half = false;
    this.effects.enter("lineEnding");
    this.effects.consume(code);
    this.effects.exit("lineEnding");
  }

  /** Read a character; true if it completes `\)`, `\]` or `$$`. `\\` is a new line in a formula. */
  protected closes(code: Code): boolean {
    const whole = this.#half && code === this.closing;
    this.#half = !this.#half && code === this.marker;
    this.effects.consume(code);
    return whole;
  }
}

/** What a text opens and never closes: looking for its end at each opening would take too long. */
const unclosed = new WeakMap<object, Set<Code>>();

/** A formula within a text. */
class Inline extends Reader {
  readonly #never: Set<Code>;

  constructor(text: TokenizeContext, effects: Effects, ok: State, nok: State) {
    super(effects, ok, nok);
    this.#never = unclosed.get(text) ?? new Set();
    unclosed.set(text, this.#never);
  }

  start: State = (code) => this.begin("formula", code);

  protected second: State = (code) => {
    this.closing = closingOf(this.marker, code);
    if (this.closing === null || this.#never.has(this.closing)) return this.nok(code);
    this.effects.consume(code);
    return this.#data;
  };

  #data: State = (code) => {
    if (code !== null && !isLineEnd(code)) return this.closes(code) ? this.#end : this.#data;
    this.effects.exit("formulaData");
    return this.#line(code);
  };

  #line: State = (code) => {
    if (code === null) {
      this.#never.add(this.closing);
      return this.nok(code);
    }
    if (isLineEnd(code)) {
      this.lineEnd(code);
      return this.#line;
    }
    this.effects.enter("formulaData");
    return this.#data(code);
  };

  #end: State = (code) => {
    this.effects.exit("formulaData");
    this.effects.exit("formula");
    return this.ok(code);
  };
}

/** The same for blocks: the line before which what is opened, alone in its line or not, is not closed. */
const unclosedBefore = new WeakMap<object, Map<string, number>>();

/** A formula of its own lines. It has no blank line, and nothing follows its end. */
class Block extends Reader {
  readonly #text: TokenizeContext;
  readonly #never: Map<string, number>;
  #first = true;
  /** Nothing else is in the first line: then the end of the text is an end too. */
  #alone = true;
  #blank = false;

  constructor(text: TokenizeContext, effects: Effects, ok: State, nok: State) {
    super(effects, ok, nok);
    this.#text = text;
    this.#never = unclosedBefore.get(text.parser) ?? new Map();
    unclosedBefore.set(text.parser, this.#never);
  }

  start: State = (code) => this.begin("formulaBlock", code);

  protected second: State = (code) => {
    this.closing = code === ROUND ? null : closingOf(this.marker, code);
    if (this.closing === null) return this.nok(code);
    this.effects.consume(code);
    return this.#data;
  };

  #data: State = (code) => {
    if (code === null || isLineEnd(code)) {
      if (this.#blank) return this.#unclosed(code);
      this.effects.exit("formulaData");
      return this.#line(code);
    }
    if (!isBlank(code)) {
      this.#blank = false;
      if (this.#first) this.#alone = false;
    }
    return this.closes(code) ? this.#rest : this.#data;
  };

  #line: State = (code) => {
    if (code === null) return this.#alone ? this.#end(code) : this.#unclosed(code);
    const known = this.#never.get(`${this.closing} ${this.#alone}`) ?? 0;
    if (this.#first && this.#text.now().line < known) return this.nok(code);
    this.lineEnd(code);
    return this.#next;
  };

  #next: State = (code) => {
    if (code === null) return this.#line(code);
    const isLazy = this.#text.parser.lazy[this.#text.now().line];
    if (isLineEnd(code) || isLazy) return this.#unclosed(code);
    this.#first = false;
    this.#blank = true;
    this.effects.enter("formulaData");
    return this.#data(code);
  };

  #rest: State = (code) => {
    if (MAY_FOLLOW.has(code)) {
      this.effects.consume(code);
      return this.#rest;
    }
    if (code !== null && !isLineEnd(code)) return this.nok(code);
    this.effects.exit("formulaData");
    return this.#end(code);
  };

  #end: State = (code) => {
    this.effects.exit("formulaBlock");
    return this.ok(code);
  };

  #unclosed: State = (code) => {
    const { line } = this.#text.now();
    if (code !== null) this.#never.set(`${this.closing} true`, line);
    this.#never.set(`${this.closing} false`, line);
    return this.nok(code);
  };
}

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

const inline: Construct = {
  name: "formula",
  tokenize(effects, ok, nok) {
    return new Inline(this, effects, ok, nok).start;
  },
};
const block: Construct = {
  name: "formulaBlock",
  concrete: true,
  tokenize(effects, ok, nok) {
    return new Block(this, effects, ok, nok).start;
  },
};
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

/** Splits a growing text into its blocks, of which only the last one is parsed again. */

import { parse } from "./syntax.ts";

/** Characters: shorter texts are not split. */
const SHORT = 1_000;

export type Cut = { text: string; blocks: string[] };

/** The blocks of a text, each with the blank lines after it; `before` is its earlier state. */
export function blocksOf(text: string, before: Cut): string[] {
  // Blocks with references cannot be parsed alone, and a short text is parsed quickly.
  if (text.length < SHORT || /^ {0,3}\[[^\]\n]+\]:/m.test(text)) return [text];
  const kept = text.startsWith(before.text) ? before.blocks.slice(0, -1) : [];
  const rest = text.slice(kept.reduce((length, block) => length + block.length, 0));
  const starts = parse(rest).children.map((block) => {
    const at = block.position?.start.offset ?? 0;
    return rest.lastIndexOf("\n", at - 1) + 1;
  });
  const blocks = starts.map((start, index) =>
    rest.slice(index ? start : 0, starts[index + 1] ?? rest.length),
  );
  return [...kept, ...blocks];
}

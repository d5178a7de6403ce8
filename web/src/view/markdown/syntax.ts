/** The Markdown that answers are written in: GitHub's, with CJK text, and with formulas kept as written. */

import { fromMarkdown } from "mdast-util-from-markdown";
import { gfmFromMarkdown } from "mdast-util-gfm";
import { cjkFriendlyExtension } from "micromark-extension-cjk-friendly";
import { gfmStrikethroughCjkFriendly } from "micromark-extension-cjk-friendly-gfm-strikethrough";
import { gfm } from "micromark-extension-gfm";
import { splitAtAddresses, withAddressesThatEnd } from "./addresses.ts";
import { formulas, formulasFromMarkdown } from "./formulas.ts";

// A single `~` is a range or means "about".
const STRIKETHROUGH = { singleTilde: false };

const extensions = [
  withAddressesThatEnd(gfm(STRIKETHROUGH)),
  cjkFriendlyExtension(),
  gfmStrikethroughCjkFriendly(STRIKETHROUGH),
  formulas,
];
const mdastExtensions = [splitAtAddresses, gfmFromMarkdown(), formulasFromMarkdown];

export type Tree = ReturnType<typeof fromMarkdown>;

export function parse(text: string): Tree {
  return fromMarkdown(text, { extensions, mdastExtensions });
}

type Processor = { parser?: (text: string) => Tree };

/** A plugin that makes a unified processor read this Markdown. */
export function ourMarkdown(this: unknown): void {
  (this as Processor).parser = parse;
}

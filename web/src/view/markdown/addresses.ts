/** Bare addresses end where Chinese, Japanese or Korean text or punctuation begins. */

import type { Nodes, Parents } from "mdast";
import type { Extension as MdastExtension } from "mdast-util-from-markdown";
import type { Code, Construct, Extension, State, Tokenizer } from "micromark-util-types";

/** Also quotation marks, dashes and dots that other languages use, but no address. */
const CJK =
  "[\\p{scx=Han}\\p{scx=Hira}\\p{scx=Kana}\\p{scx=Hang}\\p{scx=Bopo}\\u2014\\u2018-\\u201f\\u2026\\u3000-\\u303f\\uff00-\\uffef]";
const IS_CJK = new RegExp(CJK, "u");
/** In one group, so that splitting at it keeps it. */
const ADDRESS = new RegExp(`(?<![a-z\\d])((?:https?://|www\\.)(?:(?!${CJK})\\S)+)`, "iu");

/** The upper halves of rare Chinese characters: the tokenizer sees UTF-16 units. */
function isCjk(code: Code): boolean {
  if (code === null || code < 0x2014) return false;
  return (code >= 0xd840 && code <= 0xd88f) || IS_CJK.test(String.fromCharCode(code));
}

/** Let the constructs for addresses take CJK text for the end of the text. */
export function withAddressesThatEnd(extension: Extension): Extension {
  const text = Object.fromEntries(
    Object.entries(extension.text ?? {}).map(([code, constructs]) => [
      code,
      [constructs ?? []].flat().map((one) => (isAddress(one) ? ending(one) : one)),
    ]),
  );
  return { ...extension, text };
}

function isAddress({ name }: Construct): boolean {
  return name === "protocolAutolink" || name === "wwwAutolink";
}

function ending(construct: Construct): Construct {
  const tokenize: Tokenizer = function (effects, ok, nok) {
    let over = false;
    const last =
      (state: State): State =>
      (code) => {
        over = true;
        return state(code);
      };
    const step =
      (state: State): State =>
      (code) => {
        const next = state(isCjk(code) ? null : code);
        return over || !next ? next : step(next);
      };
    return step(construct.tokenize.call(this, effects, last(ok), last(nok)));
  };
  return { ...construct, tokenize };
}

/** Addresses that are found in text after it was parsed must be pieces of their own to end there. */
export const splitAtAddresses: MdastExtension = { transforms: [split] };

function split(node: Parents): void {
  const before: Nodes[] = node.children;
  const children = before.flatMap((child): Nodes | Nodes[] => {
    if (child.type === "text") {
      const pieces = child.value.split(ADDRESS);
      return pieces.length > 1 ? pieces.map((value) => ({ type: "text", value })) : child;
    }
    if ("children" in child && child.type !== "link") split(child);
    return child;
  });
  Object.assign(node, { children });
}

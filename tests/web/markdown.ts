/** Reads Markdown as the web client does: for each line of JSON, a text, what it becomes as an outline. */

import { createInterface } from "node:readline";
import { parse } from "../../web/src/view/markdown/syntax.ts";

type Node = { type: string; value?: string; url?: string; children?: Node[] };

/** Elements by their names, as `<strong>words</strong>`; paragraphs without. */
function outline(node: Node): string {
  const inside = node.value ?? node.children?.map(outline).join("") ?? "";
  if (node.type === "text") return inside;
  if (node.type === "root" || node.type === "paragraph") return inside;
  return `<${node.type}${node.url ? ` ${node.url}` : ""}>${inside}</${node.type}>`;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(outline(parse(JSON.parse(line)) as Node)));
}

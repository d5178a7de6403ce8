/** Reads JSON and writes it as the web client does; `marks` for browsers that do not say how a number was written. */

import { createInterface } from "node:readline";
import { parseJson, toJson } from "../../web/src/wire/json.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const { text, marks } = JSON.parse(line);
  let written: string | null = null;
  try {
    written = toJson(parseJson(text, marks));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  console.log(JSON.stringify(written));
}

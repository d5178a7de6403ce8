/**
 * Folds events as the web client does: for each line of `pages`, the newest first, and `events`, the
 * messages that come of them.
 */

import { createInterface } from "node:readline";
import { GapError, History } from "../../web/src/wire/fold.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const history = new History();
  const { pages, events } = JSON.parse(line);
  try {
    for (const { messages, hasMore } of pages) history.prepend(messages, hasMore);
    for (const event of events) history.apply(event);
    console.log(JSON.stringify(history.messages));
  } catch (error) {
    if (!(error instanceof GapError)) throw error;
    console.log(JSON.stringify("gap"));
  }
}

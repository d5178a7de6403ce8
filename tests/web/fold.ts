/** Folds lines of events as the page does: for each line (an array of events) the messages it makes. */

import { createInterface } from "node:readline";
import { GapError, History } from "../../web/src/wire/fold.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const history = new History();
  try {
    for (const event of JSON.parse(line)) history.apply(event);
    console.log(JSON.stringify(history.messages));
  } catch (error) {
    if (!(error instanceof GapError)) throw error;
    console.log(JSON.stringify("gap"));
  }
}

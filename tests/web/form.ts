/**
 * Forms as the web client makes them: for each line with a `schema` and the `entries` by the names of the
 * fields, the form and the output, or what is wrong.
 */

import { createInterface } from "node:readline";
import { fieldAtFault, outputOf } from "../../web/src/wire/form.ts";
import { parseJson, toJson } from "../../web/src/wire/json.ts";
import { formOf } from "../../web/src/wire/schema.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const { schema, entries, refusal } = parseJson(line) as any;
  const form = formOf(schema);
  const filled = outputOf(
    form,
    form.fields.map(({ name, initial }) => (Object.hasOwn(entries, name) ? entries[name] : initial)),
  );
  console.log(toJson({ form, filled, fault: fieldAtFault(form, refusal) }));
}

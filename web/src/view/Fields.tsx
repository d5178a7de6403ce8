import { isObject } from "../wire/json.ts";
import type { Json } from "../wire/types.ts";
import { LongText } from "./LongText.tsx";
import { shown, unhidden } from "./text.ts";

/** An object with more fields is shown as JSON. */
const MOST = 50;

type Given = { value: Json; label: string };

/** The input of a tool call: the fields of an object, each as plain text without escapes. */
export function Fields({ value, label }: Given) {
  const fields = isObject(value) ? Object.entries(value) : [];
  if (!fields.length || fields.length > MOST) {
    return <LongText text={shown(value)} label={label} live={false} />;
  }
  return (
    <div role="group" aria-label={label}>
      <dl className="fields">
        {fields.map(([name, field]) => (
          <div key={name}>
            <dt>{unhidden(name)}</dt>
            <dd>
              <LongText text={shown(field)} label={name} live={false} />
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

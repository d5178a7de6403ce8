import { useLayoutEffect, useRef, useState } from "react";
import { count, unhidden } from "./text.ts";

/** Characters shown at first. */
const FIRST = 20_000;

/** Preformatted text. While it grows, its end stays in view. */
export function LongText({ text, label, live }: { text: string; label: string; live: boolean }) {
  const [whole, setWhole] = useState(false);
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  const cut = !whole && text.length > FIRST;
  // A growing text is read at its end, a complete one from its beginning.
  const part = live ? text.slice(-FIRST) : text.slice(0, FIRST);
  const shown = cut ? part : text;

  // biome-ignore lint/correctness/useExhaustiveDependencies: what is shown is what makes it longer
  useLayoutEffect(() => {
    if (live && atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [live, shown]);

  return (
    <>
      <pre
        ref={box}
        className="long-text"
        role="group"
        aria-label={label}
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < 8;
        }}
      >
        {unhidden(shown)}
      </pre>
      {cut && (
        <button type="button" className="link" onClick={() => setWhole(true)}>
          Show all {count(text.length)} characters
        </button>
      )}
    </>
  );
}

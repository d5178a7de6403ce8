import { useEffect, useMemo, useState } from "react";
import { CopyButton } from "./CopyButton.tsx";
import { unhidden } from "./text.ts";

/** Characters: longer code is not highlighted. */
const LONGEST = 50_000;
const LONGEST_GROWING = 8_000;

type Highlight = typeof import("./highlight.ts").highlight;

let loaded: Highlight | null = null;

/** The highlighter if it is wanted and loaded. */
function useHighlight(wanted: boolean): Highlight | null {
  const [found, setFound] = useState(() => loaded);
  useEffect(() => {
    if (!wanted || found) return;
    let left = false;
    import("./highlight.ts").then(
      (module) => {
        loaded = module.highlight;
        if (!left) setFound(() => loaded);
      },
      () => undefined, // without a connection, code is not highlighted
    );
    return () => {
      left = true;
    };
  }, [wanted, found]);
  return wanted ? found : null;
}

type Given = { code: string; language: string | undefined; growing: boolean };

export function CodeBlock({ code, language, growing }: Given) {
  const highlight = useHighlight(
    language !== undefined && code.length <= (growing ? LONGEST_GROWING : LONGEST),
  );
  const text = unhidden(code);
  const shown = useMemo(
    () => (highlight && language ? highlight(text, language.toLowerCase()) : text),
    [text, language, highlight],
  );
  return (
    <figure className="code">
      <figcaption>
        <span>{language ?? "text"}</span>
        <CopyButton text={code} label="Copy code" />
      </figcaption>
      <pre tabIndex={0}>
        <code>{shown}</code>
      </pre>
    </figure>
  );
}

import type { ReactNode } from "react";
import { Icon } from "./icons.tsx";
import { useUnfolded } from "./session-context.ts";

type Given = { id: string; className: string; summary: ReactNode; children: () => ReactNode };

/** A block that is collapsed at first; its content is rendered when it is opened. */
export function Fold({ id, className, summary, children }: Given) {
  const [open, setOpen] = useUnfolded(id);
  return (
    <details
      className={`fold ${className}`}
      open={open}
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>
        <Icon name="chevron" />
        {summary}
      </summary>
      {open && <div className="fold-body">{children()}</div>}
    </details>
  );
}

import type { ReactNode } from "react";
import { Icon } from "./icons.tsx";
import { useUnfolded } from "./session-context.ts";

type Given = { id: string; className: string; summary: ReactNode; children: () => ReactNode };

/** A block that is collapsed until somebody opens it; nothing of it is made before. */
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

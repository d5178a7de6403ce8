import type { ReactNode } from "react";
import { safeLink } from "./text.ts";

type Given = { to: string; className?: string; children: ReactNode };

/** A link to another site, opened in a new tab. An unsafe URL is shown without a link. */
export function Elsewhere({ to, className, children }: Given) {
  const address = safeLink(to);
  if (!address) return className ? <span className={className}>{children}</span> : children;
  return (
    <a className={className} href={address} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

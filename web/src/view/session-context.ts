import { createContext, useContext, useState } from "react";
import type { OpenSession } from "../state/open-session.ts";

export const SessionContext = createContext<OpenSession | null>(null);

export function useSession(): OpenSession {
  const session = useContext(SessionContext);
  if (!session) throw new Error("not inside of a session");
  return session;
}

/** Whether a block is open. The state is kept when the block is scrolled out of view. */
export function useUnfolded(key: string, byDefault = false): [boolean, (open: boolean) => void] {
  const { unfolded } = useSession();
  const [open, setOpen] = useState(unfolded.get(key) ?? byDefault);
  return [
    open,
    (wanted) => {
      unfolded.set(key, wanted);
      setOpen(wanted);
    },
  ];
}

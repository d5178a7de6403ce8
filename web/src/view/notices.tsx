/** Short notices: errors on the screen, and announcements for screen readers. */

import { useEffect } from "react";
import { Store, useStore } from "../state/store.ts";
import { ServerError } from "../wire/request.ts";
import { IconButton } from "./Button.tsx";
import { unhidden } from "./text.ts";

const LASTS = 8_000;

const notice = new Store<string | null>(null);
const spoken = new Store("");

export function notify(text: string): void {
  notice.set(text);
}

export function announce(text: string): void {
  spoken.set(text);
}

/** Await an operation; if the server refuses it, show the reason and return false. */
export async function attempt(doing: Promise<unknown>): Promise<boolean> {
  try {
    await doing;
    return true;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    notify(error.message);
    return false;
  }
}

export function Notices() {
  const text = useStore(notice);
  useEffect(() => {
    if (text === null) return;
    const timer = setTimeout(() => notice.set(null), LASTS);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <>
      <div className="notices" role="alert">
        {text !== null && (
          <p>
            {unhidden(text)}
            <IconButton icon="close" label="Dismiss" onClick={() => notice.set(null)} />
          </p>
        )}
      </div>
      <div className="unseen" role="status">
        {useStore(spoken)}
      </div>
    </>
  );
}

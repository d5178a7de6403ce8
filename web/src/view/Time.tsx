import { when } from "./text.ts";

/** A time of the server; nothing where it is in no calendar. */
export function Time({ seconds }: { seconds: number }) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return null;
  return <time dateTime={date.toISOString()}>{when(seconds)}</time>;
}

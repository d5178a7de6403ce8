/** One connection to a session, over which its frames arrive. */

import type { ServerError } from "./request.ts";
import type { Frame } from "./types.ts";

export type Channel = {
  /** Ask for a sign of life; false if that is not possible. */
  ping(): boolean;
  close(): void;
};

/** What a channel reports, never before it was returned and never after it was closed. */
export type Receiver = {
  /** The first frame is a `hello`. */
  frame(frame: Frame): void;
  /** Something arrived, if only a comment. */
  alive(): void;
  /** With what the server answered instead, if that is known. */
  lost(refusal?: ServerError): void;
};

/** Opens a channel for the events after a number or, with null, for new events only. */
export type Open = (session: string, after: number | null, receiver: Receiver) => Channel;

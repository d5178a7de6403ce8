/** A session over server-sent events, for networks that let no WebSocket through. */

import { openEvents, readSession } from "./api.ts";
import type { Open, Receiver } from "./channel.ts";
import { parseJson } from "./json.ts";
import { noAnswer, ServerError } from "./request.ts";
import type { Frame, Message, SessionStatus } from "./types.ts";

export const openStream: Open = (session, after, receiver) => {
  const leaving = new AbortController();
  const over = (error?: unknown) => {
    if (!leaving.signal.aborted) receiver.lost(error instanceof ServerError ? error : undefined);
  };
  follow(session, after, receiver, leaving.signal).then(() => over(), over);
  return {
    ping: () => false,
    close: () => leaving.abort(),
  };
};

/** Return or throw when the stream ends. */
async function follow(
  session: string,
  after: number | null,
  receiver: Receiver,
  signal: AbortSignal,
): Promise<void> {
  const { seq, status } = await readHead(session);
  const response = await openEvents(session, after ?? seq, signal);
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  if (!response.body || !isStream) throw noAnswer(); // a proxy's own page
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let first = true;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return;
    receiver.alive();
    // The server begins with a comment: a stream that something holds back shows here.
    if (first) receiver.frame({ type: "hello", seq, status });
    first = false;
    const events = (text + value).split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const frame = frameOf(event);
      if (frame && !signal.aborted) receiver.frame(frame);
    }
  }
}

/** The number of a session's newest event, as a WebSocket's `hello` says it. */
async function readHead(session: string): Promise<{ seq: number; status: SessionStatus }> {
  try {
    return await readSession(session);
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) return { seq: 0, status: "idle" };
    throw error;
  }
}

/** The frame that a WebSocket would send; null for a comment. */
function frameOf(event: string): Frame | null {
  let data = "";
  let seq: number | undefined;
  for (const line of event.split("\n")) {
    if (line.startsWith("data: ")) data += line.slice(6);
    if (line.startsWith("id: ")) seq = Number(line.slice(4));
  }
  if (!data) return null;
  const value = parseJson(data) as { type: string; message?: Message };
  const number = seq === undefined ? {} : { seq };
  if (value.type === "ack")
    return { type: "message", ...number, message: value.message as Message };
  if (value.type !== "assistant") return value as Frame;
  const { type: _, ...message } = value;
  return { type: "message", ...number, message: message as unknown as Message };
}

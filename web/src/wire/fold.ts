/**
 * Folds events into messages, by the same rules as the server's `fold.py`.
 *
 * Messages are immutable: a change creates a new one, so components detect it by identity.
 */

import type { DeltaEvent, HistoryEvent, Message, Part, PartEvent, TextPart } from "./types.ts";
import { textOf } from "./types.ts";

/** Text before a delta was lost: the history must be read again. */
export class GapError extends Error {}

/** The number of code points in a text. Offsets count these; JavaScript counts UTF-16 units. */
function lengthOf(text: string): number {
  let pairs = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0xd800 && unit < 0xdc00) pairs++;
  }
  return text.length - pairs;
}

export class History {
  #messages = new Map<string, Message>();
  /** The lengths of growing texts, so that a delta does not count the text before it. */
  #lengths = new Map<string, { content: string; length: number }>();
  #sorted: Message[] | null = null;
  /** Messages with lower numbers were not read from the server. Queued messages always were. */
  floor = 0;

  /** The messages ordered by seq, queued messages last. */
  get messages(): Message[] {
    this.#sorted ??= [...this.#messages.values()].sort(
      (a, b) => Number(isQueued(a)) - Number(isQueued(b)) || a.seq - b.seq,
    );
    return this.#sorted;
  }

  get(id: string): Message | undefined {
    return this.#messages.get(id);
  }

  clear(): void {
    this.#messages.clear();
    this.#lengths.clear();
    this.#sorted = null;
    this.floor = 0;
  }

  /** Add the page before the messages read so far; with `hasMore`, the server has older ones. */
  prepend(page: Message[], hasMore: boolean): void {
    for (const message of page) if (!this.#messages.has(message.id)) this.#put(message);
    const oldest = this.messages[0];
    if (!hasMore || !oldest) this.floor = 0;
    else this.floor = isQueued(oldest) ? Number.POSITIVE_INFINITY : oldest.seq;
  }

  /**
   * Apply an event; applying it again changes nothing. Throws a GapError if text before it is missing.
   */
  apply(event: HistoryEvent): void {
    switch (event.type) {
      case "message":
        this.#lengths.clear();
        if (isQueued(event.message) || event.message.seq >= this.floor) this.#put(event.message);
        break;
      case "delta":
        this.#append(event);
        break;
      case "part":
        this.#set(event);
        break;
      case "status":
        if (event.status === "queued") this.#change(event.messageId, { status: "queued" });
        else this.#begin(event.messageId, event.seq);
        break;
      case "message-parts":
        this.#change(event.messageId, {
          parts: event.parts,
          content: textOf(event.parts),
          ...(event.metadata && { metadata: event.metadata }),
        });
        break;
      case "deleted":
        if (event.messageId === undefined) this.clear();
        else if (this.#messages.delete(event.messageId)) this.#sorted = null;
    }
  }

  /** The turn of a queued message begins, and the message takes its place in the history. */
  #begin(id: string, seq: number): void {
    const known = this.#messages.get(id);
    if (known && isQueued(known)) this.#put({ ...known, status: "complete", seq });
  }

  #put(message: Message): void {
    this.#messages.set(message.id, message);
    this.#sorted = null;
  }

  #change(id: string, change: Partial<Message>): void {
    const known = this.#messages.get(id);
    if (known) this.#put({ ...known, ...change });
  }

  #answer(id: string, seq: number): Message | undefined {
    const known = this.#messages.get(id);
    // A message that ended is complete; repeated events about it are older.
    if (known) return known.status === "streaming" ? known : undefined;
    return {
      id,
      role: "assistant",
      content: "",
      parts: [],
      createdAt: Math.floor(Date.now() / 1000),
      seq,
      status: "streaming",
    };
  }

  #append(event: DeltaEvent): void {
    const answer = this.#answer(event.messageId, event.seq);
    if (!answer) return;
    const part: Part | undefined =
      event.part === answer.parts.length
        ? { type: event.kind, content: "" }
        : answer.parts[event.part];
    const gap = new GapError(`the text at ${event.offset} of part ${event.part} was lost`);
    if (part?.type !== "text" && part?.type !== "reasoning") throw gap;
    const key = `${event.part} ${event.messageId}`;
    let known = this.#lengths.get(key);
    if (known?.content !== part.content) {
      known = { content: part.content, length: lengthOf(part.content) };
    }
    if (event.offset > known.length) throw gap;
    const seen = known.length - event.offset;
    const missing = seen ? [...event.text].slice(seen).join("") : event.text;
    const grown: TextPart = { type: part.type, content: part.content + missing };
    this.#lengths.set(key, { content: grown.content, length: known.length + lengthOf(missing) });
    this.#put(withPart(answer, event.part, grown));
  }

  #set(event: PartEvent): void {
    const answer = this.#answer(event.messageId, event.seq);
    if (!answer) return;
    if (event.index > answer.parts.length) {
      throw new GapError(`part ${event.index} comes after ${answer.parts.length} parts`);
    }
    this.#put(withPart(answer, event.index, event.part));
  }
}

function isQueued(message: Message): boolean {
  return message.status === "queued";
}

function withPart(message: Message, index: number, part: Part): Message {
  const parts = [...message.parts];
  parts[index] = part;
  return { ...message, parts, content: textOf(parts) };
}

/** The values of the protocol, as documented in docs/protocol.md. */

import type { Numeral } from "./json.ts";

export type Json = null | boolean | number | Numeral | string | Json[] | { [name: string]: Json };
export type Metadata = Record<string, unknown>;

export type MessageStatus =
  | "complete"
  | "queued"
  | "streaming"
  | "stopped"
  | "interrupted"
  | "error";

export type TextPart = { type: "text" | "reasoning"; content: string };
/** What an agent asks about a tool call; `expiresAt` is in seconds, `message` came with the answer. */
export type Question = {
  id: string;
  kind: "approval" | "output";
  state: "open" | "approved" | "denied" | "answered" | "expired";
  /** The JSON Schema of the output. */
  schema?: Json;
  expiresAt?: number;
  message?: string;
};
export type ToolCallPart = {
  type: "tool-call";
  toolCallId: string;
  toolName: string;
  toolInput: Json;
  state: "pending" | "running" | "complete" | "error";
  toolOutput?: Json;
  error?: string;
  question?: Question;
};
export type ToolResultPart = {
  type: "tool-result";
  toolName: string;
  toolOutput: Json;
  state: string;
  toolCallId?: string;
};
export type FilePart = { type: "file"; mediaType: string; url: string; filename?: string };
export type SourcePart = { type: "source"; url: string; title?: string };
export type DataPart = { type: "data"; name: string; data: Json };
export type Part = TextPart | ToolCallPart | ToolResultPart | FilePart | SourcePart | DataPart;

export type Message = {
  id: string;
  role: "user" | "assistant" | "system";
  content: string;
  parts: Part[];
  createdAt: number;
  seq: number;
  status: MessageStatus;
  metadata?: Metadata;
  replyTo?: string;
};

/** `waiting`: a turn runs, and its agent waits for the answer to a question. */
export type SessionStatus = "idle" | "queued" | "running" | "waiting";

export type Session = {
  id: string;
  title: string;
  status: SessionStatus;
  messageCount: number;
  createdAt: number;
  updatedAt: number;
  archived: boolean;
  metadata: Metadata;
  seq: number;
};

/** A search result; `found` has pairs of start and end in the snippet's code points. */
export type Found = {
  sessionId: string;
  title: string;
  message: Message;
  snippet: string;
  found: [number, number][];
};

export type DeltaEvent = {
  type: "delta";
  seq: number;
  messageId: string;
  part: number;
  kind: "text" | "reasoning";
  offset: number;
  text: string;
};
export type PartEvent = {
  type: "part";
  seq: number;
  messageId: string;
  index: number;
  part: Part;
};

/** An event that changes a session's history. A message sent outside of the sequence has no `seq`. */
export type HistoryEvent =
  | { type: "message"; seq?: number; message: Message }
  | DeltaEvent
  | PartEvent
  | {
      type: "status";
      seq: number;
      messageId: string;
      status: "queued" | "running";
      position?: number;
      /** The turn goes on after a restart of the server. */
      continued?: boolean;
    }
  | {
      type: "message-parts";
      seq: number;
      messageId: string;
      parts: Part[];
      metadata?: Metadata;
    }
  | { type: "deleted"; seq: number; messageId?: string };

export type Frame =
  | HistoryEvent
  | { type: "hello"; seq: number; status: SessionStatus }
  | { type: "session"; seq: number; session: Session }
  | { type: "reset"; seq: number }
  | { type: "error"; error: string; code: string }
  | { type: "pong" };

export function textOf(parts: Part[]): string {
  return parts.map((part) => (part.type === "text" ? part.content : "")).join("");
}

/** The question of a tool call that waits for an answer. */
export function openQuestion(part: Part): Question | undefined {
  const question = part.type === "tool-call" ? part.question : undefined;
  return question?.state === "open" ? question : undefined;
}

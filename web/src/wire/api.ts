/** The operations of the protocol. */

import { json, request, ServerError, TIMEOUT } from "./request.ts";
import { confirmServer, doubtServer, ensureServer } from "./server.ts";
import type { Found, Json, Message, Part, Session } from "./types.ts";

/** Send a request. Before one that changes something, the server confirms that it is still the same one. */
async function ask(
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Response> {
  await (method === "GET" ? ensureServer() : confirmServer());
  return doubting(request(method, path, body, signal));
}

/** Doubt the server if it does not answer. */
async function doubting<Value>(answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ServerError && error.passing) doubtServer();
    throw error;
  }
}

type Answer<Value> = { value: Value; hasMore: boolean };

/** Send a request whose answer is JSON. */
async function read<Value>(method: string, path: string, body?: unknown): Promise<Answer<Value>> {
  const response = await ask(method, path, body);
  const value = (await doubting(json(response))) as Value;
  return { value, hasMore: response.headers.get("x-has-more") === "true" };
}

/** Session and message ids may contain characters that have a meaning in a URL. */
const inPath = encodeURIComponent;

export type MessagePage = { messages: Message[]; hasMore: boolean };

export async function readMessages(
  session: string,
  limit: number,
  before?: string,
): Promise<MessagePage> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== undefined) query.set("before", before);
  const path = `chat/${inPath(session)}/messages?${query}`;
  const { value: messages, hasMore } = await read<Message[]>("GET", path);
  return { messages, hasMore };
}

export type Outgoing = { id: string; parts: Part[]; replaces?: string };

/** Return when the message is stored; its answer arrives on the socket. */
export async function send(session: string, message: Outgoing): Promise<void> {
  await begin(`chat/${inPath(session)}`, message);
}

export async function regenerate(session: string, messageId: string): Promise<void> {
  await begin(`chat/${inPath(session)}/regenerate`, { messageId });
}

/** Begin a turn, which continues when its stream is closed. */
async function begin(path: string, body: unknown): Promise<void> {
  const leaving = new AbortController();
  const late = setTimeout(() => leaving.abort(), TIMEOUT);
  try {
    await ask("POST", path, body, leaving.signal);
  } finally {
    clearTimeout(late);
    leaving.abort();
  }
}

export async function stop(session: string): Promise<void> {
  await ask("POST", `chat/${inPath(session)}/stop`);
}

/** An answer to a question; `error` declines to give an output. */
export type Reply =
  | { approve: boolean; always?: boolean; message?: string }
  | { output: Json }
  | { error: string };

export async function answer(session: string, questionId: string, reply: Reply): Promise<void> {
  await ask("POST", `chat/${inPath(session)}/questions/${inPath(questionId)}`, reply);
}

export async function deleteMessage(session: string, id: string): Promise<void> {
  await ask("DELETE", `sessions/${inPath(session)}/messages/${inPath(id)}`);
}

export type SessionQuery = { limit: number; before?: string; q?: string; archived?: boolean };

export async function listSessions(
  asked: SessionQuery,
): Promise<{ sessions: Session[]; hasMore: boolean }> {
  const query = new URLSearchParams({ limit: String(asked.limit) });
  if (asked.before) query.set("before", asked.before);
  if (asked.q) query.set("q", asked.q);
  if (asked.archived) query.set("archived", "true");
  const { value: sessions, hasMore } = await read<Session[]>("GET", `sessions?${query}`);
  return { sessions, hasMore };
}

export async function readSession(id: string): Promise<Session> {
  return (await read<Session>("GET", `sessions/${inPath(id)}`)).value;
}

export async function updateSession(
  id: string,
  change: { title?: string; archived?: boolean },
): Promise<Session> {
  return (await read<Session>("PATCH", `sessions/${inPath(id)}`, change)).value;
}

export async function deleteSession(id: string): Promise<void> {
  await ask("DELETE", `sessions/${inPath(id)}`);
}

export async function forkSession(id: string, at?: string): Promise<Session> {
  return (await read<Session>("POST", `sessions/${inPath(id)}/fork`, at ? { at } : {})).value;
}

export async function search(q: string, limit: number): Promise<Found[]> {
  const query = new URLSearchParams({ q, limit: String(limit) });
  return (await read<Found[]>("GET", `search?${query}`)).value;
}

export function exportAddress(id: string, format: "json" | "markdown" | "sqlite"): string {
  return `sessions/${inPath(id)}/export?format=${format}`;
}

/** The session's events after a number, as server-sent events. */
export function openEvents(session: string, after: number, signal: AbortSignal): Promise<Response> {
  return ask("GET", `chat/${inPath(session)}/events?after=${after}`, undefined, signal);
}

/** The URL of a session's socket, for the events after a number or, with null, for new events only. */
export function socketAddress(session: string, after: number | null): string {
  const address = new URL(`sessions/${inPath(session)}/websocket`, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (after !== null) address.searchParams.set("after", String(after));
  return address.href;
}

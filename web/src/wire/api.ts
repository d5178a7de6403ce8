/** Requests to the server, which is where this page comes from. */

import type { Found, Message, Part, Session } from "./types.ts";

/** The server refused (`status` and its `code`), or did not answer (`status` 0). */
export class ServerError extends Error {
  status: number;
  code: string;

  constructor(message: string, status: number, code: string) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** The same request may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

const TIMEOUT = 15_000;

async function ask(
  method: string,
  path: string,
  body?: unknown,
  signal: AbortSignal = AbortSignal.timeout(TIMEOUT),
): Promise<Response> {
  const request: RequestInit = { method, signal };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers = { "content-type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new ServerError("The server does not answer.", 0, "no_answer");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new ServerError(
    told.error ?? `The server answered ${response.status}.`,
    response.status,
    told.code ?? "unknown",
  );
}

/** Session and message ids have characters of their own meaning in an address. */
const inPath = encodeURIComponent;

export type MessagePage = { messages: Message[]; hasMore: boolean };

export async function readMessages(
  session: string,
  limit: number,
  before?: string,
): Promise<MessagePage> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== undefined) query.set("before", before);
  const response = await ask("GET", `chat/${inPath(session)}/messages?${query}`);
  return {
    messages: await response.json(),
    hasMore: response.headers.get("x-has-more") === "true",
  };
}

export type Outgoing = { id: string; parts: Part[]; replaces?: string };

/** Returns when the message is stored; its answer comes over the socket. */
export async function send(session: string, message: Outgoing): Promise<void> {
  await begin(`chat/${inPath(session)}`, message);
}

export async function regenerate(session: string, messageId: string): Promise<void> {
  await begin(`chat/${inPath(session)}/regenerate`, { messageId });
}

/** Begins a turn, which goes on when its stream is left. */
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

export async function approve(
  session: string,
  id: string,
  answer: { approve: boolean; always?: boolean; message?: string },
): Promise<void> {
  await ask("POST", `chat/${inPath(session)}/approvals/${inPath(id)}`, answer);
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
  const response = await ask("GET", `sessions?${query}`);
  return {
    sessions: await response.json(),
    hasMore: response.headers.get("x-has-more") === "true",
  };
}

export async function readSession(id: string): Promise<Session> {
  return (await ask("GET", `sessions/${inPath(id)}`)).json();
}

export async function updateSession(
  id: string,
  change: { title?: string; archived?: boolean },
): Promise<Session> {
  return (await ask("PATCH", `sessions/${inPath(id)}`, change)).json();
}

export async function deleteSession(id: string): Promise<void> {
  await ask("DELETE", `sessions/${inPath(id)}`);
}

export async function forkSession(id: string, at?: string): Promise<Session> {
  return (await ask("POST", `sessions/${inPath(id)}/fork`, at ? { at } : {})).json();
}

export async function search(q: string, limit: number): Promise<Found[]> {
  return (await ask("GET", `search?${new URLSearchParams({ q, limit: String(limit) })}`)).json();
}

export function exportAddress(id: string, format: "json" | "markdown" | "sqlite"): string {
  return `sessions/${inPath(id)}/export?format=${format}`;
}

/** The address of a session's socket, for events after a number, or from the moment it opens. */
export function socketAddress(session: string, after: number | null): string {
  const address = new URL(`sessions/${inPath(session)}/websocket`, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (after !== null) address.searchParams.set("after", String(after));
  return address.href;
}

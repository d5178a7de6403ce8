/** Requests to the server that this web client comes from. */

import { isObject, parseJson, toJson } from "./json.ts";

const NO_ANSWER = "no_answer";
const UNKNOWN = "unknown";

/** The server refused (`status` and its `code`), or did not answer (`status` 0). */
export class ServerError extends Error {
  status: number;
  code: string;

  constructor(message: string, status: number, code: string) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** It is the answer of this server, and not of something on the way to it. */
  get own(): boolean {
    return this.code !== UNKNOWN && this.code !== NO_ANSWER;
  }

  /** The same request may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

/** Milliseconds. */
export const TIMEOUT = 15_000;

export function noAnswer(): ServerError {
  return new ServerError("The server does not answer.", 0, NO_ANSWER);
}

export async function request(
  method: string,
  path: string,
  body?: unknown,
  signal: AbortSignal = AbortSignal.timeout(TIMEOUT),
): Promise<Response> {
  const init: RequestInit = { method, signal };
  if (body !== undefined) {
    init.body = toJson(body);
    init.headers = { "content-type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw noAnswer();
  }
  if (response.ok) return response;
  const refusal = await json(response).catch(() => null);
  const { error, code } = isObject(refusal) ? refusal : {};
  throw new ServerError(
    typeof error === "string" ? error : `The server answered ${response.status}.`,
    response.status,
    typeof code === "string" ? code : UNKNOWN,
  );
}

/**
 * The JSON of an answer. Its connection may be lost before its end, and what a proxy or a login page
 * answers is not JSON: both mean that the server did not answer.
 */
export async function json(response: Response): Promise<unknown> {
  try {
    return parseJson(await response.text());
  } catch {
    throw noAnswer();
  }
}

// The chat server in its original design, to measure against: one Durable Object per session with a
// SQLite of its own, a Worker before it that streams server-sent events.
//
// `POST /seed/{session}?count=N` is the benchmark's own: it fills a session with a long history.
import { DurableObject } from "cloudflare:workers";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";

const REPLY = "I received your message, and this is what I have to say about it.";

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, content TEXT NOT NULL, parts TEXT,
    created_at INTEGER NOT NULL);
  CREATE INDEX IF NOT EXISTS messages_by_time ON messages (created_at);`;

const SEED = `
  WITH RECURSIVE n (i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
  INSERT INTO messages (id, role, content, created_at)
  SELECT printf('m%d', i), iif(i % 2, 'assistant', 'user'), ?, 1700000000 + i FROM n`;

const PAGE = "SELECT id, role, content, parts, created_at AS createdAt FROM messages";
const NEWEST = "ORDER BY created_at DESC LIMIT ?";

export class SessionDO extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(SCHEMA);
  }

  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname.endsWith("/websocket")) return this.watch();
    if (url.pathname.startsWith("/seed")) return this.seed(Number(url.searchParams.get("count")));
    if (request.method === "POST") return Response.json(this.persist(await request.json()));
    return Response.json(this.page(url.searchParams));
  }

  watch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  persist({ role, content, parts }) {
    const message = { id: crypto.randomUUID(), role, content, parts };
    message.createdAt = Math.floor(Date.now() / 1000);
    this.sql.exec(
      "INSERT INTO messages (id, role, content, parts, created_at) VALUES (?, ?, ?, ?, ?)",
      message.id, role, content, parts ?? null, message.createdAt,
    );
    const frame = JSON.stringify({ type: "message", message });
    for (const socket of this.ctx.getWebSockets()) socket.send(frame);
    return message;
  }

  page(query) {
    const limit = Number(query.get("limit") ?? 25);
    const before = query.get("before");
    if (!before) return this.sql.exec(`${PAGE} ${NEWEST}`, limit).toArray().reverse();
    const { at } = this.sql.exec("SELECT created_at AS at FROM messages WHERE id = ?", before).one();
    return this.sql.exec(`${PAGE} WHERE created_at < ? ${NEWEST}`, at, limit).toArray().reverse();
  }

  seed(count) {
    const content = "one two three four five six seven eight nine ten";
    for (let start = 0; start < count; start += 50_000)
      this.sql.exec(SEED, start, Math.min(count, start + 50_000), content);
    return Response.json({ count });
  }
}

const app = new Hono();

function session(c) {
  const sessions = c.env.SESSIONS;
  return sessions.get(sessions.idFromName(c.req.param("session")));
}

function persist(object, message) {
  return object.fetch("https://session/messages", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(message),
  });
}

app.get("/", (c) => c.text("ok"));
app.get("/sessions/:session/websocket", (c) => session(c).fetch(c.req.raw));
app.post("/seed/:session", (c) => session(c).fetch(c.req.raw));

app.post("/chat/:session", async (c) => {
  const { content } = await c.req.json();
  if (!content?.trim()) return c.json({ error: "Message content required" }, 400);
  const object = session(c);
  await persist(object, { role: "user", content });
  return streamSSE(c, async (stream) => {
    const send = (event, data) => stream.writeSSE({ event, data: JSON.stringify(data) });
    await send("message", { type: "ack", content: "Message received" });
    const answer = { role: "assistant", content: REPLY };
    await persist(object, answer);
    await send("message", { type: "assistant", ...answer });
    await send("done", { type: "done" });
  });
});

app.get("/chat/:session/messages", async (c) => {
  const query = new URL(c.req.url).search;
  const page = await session(c).fetch(`https://session/messages${query}`);
  return c.json(await page.json());
});

export default app;

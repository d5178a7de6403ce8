"""ChatKit's server with an agent that echoes, and a small store over SQLite."""

import json
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError, Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    Page,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)
from common import serve, words
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

ITEM: TypeAdapter[Any] = TypeAdapter(ThreadItem)


class SQLiteChats(Store[None]):
    """Threads and their items as JSON; every write is a commit."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("chatkit.db", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE threads (id TEXT PRIMARY KEY, body TEXT);"
            "CREATE TABLE items (number INTEGER PRIMARY KEY, id TEXT UNIQUE, thread TEXT, body TEXT);"
            "CREATE INDEX items_by_thread ON items (thread, number);"
        )

    async def load_thread(self, thread_id: str, context: None) -> ThreadMetadata:
        found = self._db.execute("SELECT body FROM threads WHERE id = ?", (thread_id,)).fetchone()
        if found is None:  # so that the benchmark need not ask for its threads first
            return ThreadMetadata(id=thread_id, created_at=datetime.now(UTC))
        return ThreadMetadata.model_validate_json(found[0])

    async def save_thread(self, thread: ThreadMetadata, context: None) -> None:
        values = (thread.id, thread.model_dump_json())
        self._db.execute("INSERT OR REPLACE INTO threads VALUES (?, ?)", values)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: None
    ) -> Page[ThreadItem]:
        way = "DESC" if order == "desc" else "ASC"
        query = f"SELECT body FROM items WHERE thread = ? ORDER BY number {way} LIMIT ?"
        rows = self._db.execute(query, (thread_id, limit)).fetchall()
        return Page(data=[ITEM.validate_json(body) for (body,) in rows])

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: None) -> None:
        await self.save_item(thread_id, item, context)

    async def save_item(self, thread_id: str, item: ThreadItem, context: None) -> None:
        self._db.execute(
            "INSERT INTO items (id, thread, body) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (item.id, thread_id, item.model_dump_json()),
        )

    async def load_item(self, thread_id: str, item_id: str, context: None) -> ThreadItem:
        found = self._db.execute("SELECT body FROM items WHERE id = ?", (item_id,)).fetchone()
        if found is None:
            raise NotFoundError(item_id)
        return ITEM.validate_json(found[0])

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: None
    ) -> Page[ThreadMetadata]:
        return Page(data=[])

    async def save_attachment(self, attachment: Any, context: None) -> None:
        raise NotImplementedError

    async def load_attachment(self, attachment_id: str, context: None) -> Any:
        raise NotImplementedError

    async def delete_attachment(self, attachment_id: str, context: None) -> None:
        raise NotImplementedError

    async def delete_thread(self, thread_id: str, context: None) -> None:
        raise NotImplementedError

    async def delete_thread_item(self, thread_id: str, item_id: str, context: None) -> None:
        raise NotImplementedError


class Echo(ChatKitServer[None]):
    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: None
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        text = "".join(part.text for part in input_user_message.content)
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(UTC),
            content=[AssistantMessageContent(text="")],
        )
        yield ThreadItemAddedEvent(item=item)
        for word in words(text):
            delta = AssistantMessageContentPartTextDelta(content_index=0, delta=word)
            yield ThreadItemUpdatedEvent(item_id=item.id, update=delta)
        content = [AssistantMessageContent(text=text)]
        yield ThreadItemDoneEvent(item=item.model_copy(update={"content": content}))


app = FastAPI()
server = Echo(SQLiteChats())


@app.post("/chat/{thread}")
async def chat(thread: str, request: Request) -> StreamingResponse:
    """The benchmark's request in ChatKit's own form."""
    message = {
        "content": [{"type": "input_text", "text": (await request.json())["content"]}],
        "attachments": [],
        "inference_options": {},
    }
    asked = {
        "type": "threads.add_user_message",
        "params": {"thread_id": thread, "input": message},
    }
    result: Any = await server.process(json.dumps(asked), None)
    return StreamingResponse(result, media_type="text/event-stream")


@app.get("/")
async def ready() -> dict[str, str]:
    return {}


serve(app)

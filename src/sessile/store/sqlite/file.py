"""One session in a new SQLite file of its own, which has the embedded store's schema."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import apsw
import msgspec

from sessile.store import sql
from sessile.store.base import Row
from sessile.store.columns import values_of
from sessile.store.sqlite.place import APPLICATION
from sessile.store.sqlite.tables import message_values, places
from sessile.store.sqlite.transaction import unavailable
from sessile.wire.codec import encode
from sessile.wire.messages import decode_message

_Q = sql.queries(__package__, first=3)
NUMBER = 1  # of the session


async def write_file(path: str, row: Row, chunks: AsyncGenerator[list[bytes], None]) -> None:
    """Write one session, from the JSON of its messages, into an empty file; beside the loop.

    The file loses its name: it ends with the last process that has it open, and nothing is left
    of it after a crash. An answer that is being written is in it as interrupted.
    """
    with unavailable():
        file = await asyncio.to_thread(_File, path)
        try:
            async with aclosing(chunks):
                async for bodies in chunks:
                    await asyncio.to_thread(file.put, bodies)
            await asyncio.to_thread(file.finish, row)
        finally:
            await asyncio.to_thread(file.database.close)


class _File:
    """A database that is written once, and not kept if the power is lost meanwhile."""

    def __init__(self, path: str) -> None:
        self.database = apsw.Connection(path)
        os.unlink(path)
        self._documents = 0
        scripts = sql.migrations(__package__)
        for step in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA application_id = {APPLICATION}",
            "BEGIN",
            *scripts,
            f"PRAGMA user_version = {len(scripts)}",
        ):
            self.database.execute(step)

    def put(self, bodies: list[bytes]) -> None:
        for body in bodies:
            message = decode_message(body)
            if message.status == "streaming":
                message.status = "interrupted"
                body = encode(message)
            self._documents += 1
            values = message_values(self._documents, NUMBER, message, body, message.seq)
            self.database.execute(_Q["put_message"], values)
            rows = places(self._documents, NUMBER, message.seq, message.seq)
            self.database.executemany(_Q["put_place"], rows)

    def finish(self, row: Row) -> None:
        copied = msgspec.structs.replace(row, running=None, private={}, owner=0)
        self.database.execute(_Q["insert_session"], (NUMBER, 1, *values_of(copied)))
        self.database.execute("COMMIT")

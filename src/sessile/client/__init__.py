"""A client of a Sessile server for Python programs.

    async with Client("http://127.0.0.1:8787") as client:
        async for event in client.session("trip").stream("Where to?"):
            print(event)

A stream that breaks, also because the server restarts, goes on after the last event that was seen.
:class:`SyncClient` is the same for programs without asyncio. What the server refuses is raised as the
error of :mod:`sessile.wire.errors` with its code; :class:`~sessile.wire.errors.RemoteError` says that
no server answers.
"""

from sessile.client.client import Client
from sessile.client.session import ClientSession, Sent
from sessile.client.sync import SyncClient, SyncSession

__all__ = ["Client", "ClientSession", "Sent", "SyncClient", "SyncSession"]

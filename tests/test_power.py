"""The loss of power, modelled: what was not synced may be lost, in part and in any order.

A server under load records what it writes and syncs. For many moments the files are then made as a
disk may have them if the power fails there: everything before the last sync is there; each later
write is there, is not, or is torn. What a client had an acknowledgement for must be in all of them.
"""

import asyncio
import random
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import apsw

from sessile.store.sqlite.store import SQLiteStore
from tests.serving import Client, Process, client_of

SOURCE = Path(__file__).parent / "power.c"
SECTOR = 512
HEAD = struct.Struct("=cBxxiqq")
NAMES = {1: "sessile.sqlite", 2: "sessile.sqlite-wal"}
CUTS = 25
SECONDS = 3.0


class Record(NamedTuple):
    """One call; ``end`` is where the next record begins in the log."""

    kind: bytes
    file: int
    sync: int
    offset: int
    data: bytes
    end: int


def records(log: bytes) -> list[Record]:
    found: list[Record] = []
    place = 0
    while place + HEAD.size <= len(log):
        kind, file, sync, offset, length = HEAD.unpack_from(log, place)
        place += HEAD.size
        data = log[place : place + length]
        place += length
        if place <= len(log):  # else the process was killed in the middle of it
            found.append(Record(kind, file, sync, offset, data, place))
    return found


def after_a_cut(calls: list[Record], rng: random.Random) -> dict[int, bytes]:
    """The files as a disk may have them when the power fails after these calls."""
    files: dict[int, bytes] = {}
    for file in NAMES:
        mine = [call for call in calls if call.file == file]
        started = {call.sync: at for at, call in enumerate(mine) if call.kind == b"b"}
        synced = max((started[c.sync] for c in mine if c.kind == b"e"), default=0)
        image = bytearray()
        for at, call in enumerate(mine):
            if call.kind in b"wt":
                _apply(image, call, whole=at < synced, rng=rng)
        files[file] = bytes(image)
    return files


def _apply(image: bytearray, call: Record, whole: bool, rng: random.Random) -> None:
    if not whole and rng.random() < 0.4:
        return
    if call.kind == b"t":
        del image[call.offset :]
        image.extend(bytes(call.offset - len(image)))
        return
    end = call.offset + len(call.data)
    image.extend(bytes(max(0, end - len(image))))
    if whole or rng.random() < 0.8:
        image[call.offset : end] = call.data
        return
    for start in range(0, len(call.data), SECTOR):  # it is torn
        if rng.random() < 0.5:
            piece = call.data[start : start + SECTOR]
            image[call.offset + start : call.offset + start + len(piece)] = piece


def built(folder: Path) -> Path:
    """The library that records, for ``LD_PRELOAD``."""
    library = folder / "power.so"
    command: list[str | Path] = [
        "cc",
        "-shared",
        "-fPIC",
        "-O2",
        "-o",
        library,
        SOURCE,
        "-ldl",
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    return library


def length_of(log: Path) -> int:
    return log.stat().st_size


async def load(chat: Client, log: Path, over: asyncio.Event) -> dict[str, tuple[str, str, int]]:
    """Send until it is over: message id to session, text, and how long the log was at the ack."""
    acked: dict[str, tuple[str, str, int]] = {}

    async def send(number: int) -> None:
        count = 0
        while not over.is_set():
            id, session = f"{number}-{count}", f"s{number}"
            said = f"{id} " + "word " * random.randrange(4_000)
            if count % 3:
                body = {"id": id, "content": said}
                response = await chat.http.post(f"/sessions/{session}/messages", json=body)
                assert response.status_code == 201
                acked[id] = (session, said, length_of(log))
            else:
                found = await chat.send(session, said, id=id)
                acked[id] = acked[found[-2].data["id"]] = (session, said, length_of(log))
            if count % 7 == 6:  # the log is emptied after it
                other = f"gone{number}"
                await chat.http.post(f"/sessions/{other}/messages", json={"content": said})
                await chat.http.delete(f"/sessions/{other}")
            count += 1

    await asyncio.gather(*(send(number) for number in range(6)))
    return acked


async def test_what_was_acknowledged_survives_the_loss_of_power(
    tmp_path: Path, thorough: int
) -> None:
    log = tmp_path / "power.log"
    loaded = {"LD_PRELOAD": str(built(tmp_path)), "POWER_LOG": str(log)}
    over = asyncio.Event()
    with Process(tmp_path, "--store", f"sqlite:///{NAMES[1]}", **loaded) as server:
        async with client_of(server) as chat:
            asyncio.get_running_loop().call_later(SECONDS, over.set)
            acked = await load(chat, log, over)
        server.kill()
    calls = records(log.read_bytes())
    kinds = {(call.kind, call.file) for call in calls}
    assert {(b"w", 1), (b"w", 2), (b"e", 1), (b"e", 2), (b"t", 2)} <= kinds, "it was checkpointed"
    assert len(acked) > 50
    rng = random.Random()
    for number in range(CUTS * thorough):
        cut = rng.randrange(len(calls) // 20, len(calls))
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        for file, image in after_a_cut(calls[:cut], rng).items():
            (folder / NAMES[file]).write_bytes(image)
        known = {id: ack for id, ack in acked.items() if ack[2] <= calls[cut - 1].end}
        await check(folder / NAMES[1], known)


async def check(path: Path, known: dict[str, tuple[str, str, int]]) -> None:
    store = SQLiteStore(path)
    await store.open()
    try:
        for id, (session, said, _) in known.items():
            message = await store.message(session, id)
            assert message is not None, f"{id} of {len(known)} is lost"
            assert message.content == said
    finally:
        await store.close()
    database = apsw.Connection(str(path))
    assert database.execute("PRAGMA integrity_check").get == "ok"
    database.close()

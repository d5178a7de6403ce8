"""The checkpoints of one turn, which are kept with its answer."""

import asyncio
import copy
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from sessile.agents.langgraph.progress import Progress

LIVE = "live"  # the type of a value that only this process has


class TurnSerializer(JsonPlusSerializer):
    """Keeps what it cannot serialize as it is, because a graph that needs no checkpoint runs with
    any state."""

    def __init__(self) -> None:
        super().__init__()
        self._live: list[Any] = []

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        try:
            return super().dumps_typed(obj)
        except Exception:
            self._live.append(obj)
            return LIVE, str(len(self._live) - 1).encode()

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        return self._live[int(data[1])] if data[0] == LIVE else super().loads_typed(data)


class TurnSaver(InMemorySaver):
    """Has the newest checkpoint of each graph of a turn, with the results of tasks since, and keeps
    them before the graph goes on. With ``history`` it has the older ones too."""

    def __init__(self, progress: Progress, history: bool = False) -> None:
        super().__init__(serde=TurnSerializer())
        self._progress = progress
        self._history = history
        self._loop = asyncio.get_running_loop()
        progress.checkpoints = self.as_json

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        stored = super().put(config, checkpoint, metadata, new_versions)
        graph = config["configurable"].get("checkpoint_ns", "")
        if not self._history:
            self._prune(config["configurable"]["thread_id"], graph, checkpoint)
        self._progress.passed_step(graph)
        self._progress.changed = True
        return stored

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        stored = self.put(config, checkpoint, metadata, new_versions)
        await self._keep()
        return stored

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)
        self._progress.changed = True
        await self._keep()

    async def _keep(self) -> None:
        if asyncio.get_running_loop() is self._loop:  # a node may run a graph in a loop of its own
            await self._progress.flush()

    def _prune(self, thread: str, graph: str, checkpoint: Checkpoint) -> None:
        """Forget the checkpoints before this one, and those of the graphs in its former tasks."""
        graphs = self.storage[thread]
        graphs[graph] = {checkpoint["id"]: graphs[graph][checkpoint["id"]]}
        over = {other for other in list(graphs) if is_within(other, graph)}
        for other in over:
            del graphs[other]
        for key in list(self.writes):
            if key[1] in over or (key[1] == graph and key[2] != checkpoint["id"]):
                del self.writes[key]
        versions = checkpoint["channel_versions"]
        for blob in list(self.blobs):
            if blob[1] in over or (blob[1] == graph and versions.get(blob[2]) != blob[3]):
                del self.blobs[blob]

    def as_json(self) -> Any:
        """All that it has; None if a part of it cannot leave this process."""
        found: dict[str, list[Any]] = {"storage": [], "writes": [], "blobs": []}
        for thread, graphs in list(self.storage.items()):
            for graph, checkpoints in list(graphs.items()):
                for id, (checkpoint, metadata, parent) in list(checkpoints.items()):
                    row = [thread, graph, id, _packed(checkpoint), _packed(metadata), parent]
                    found["storage"].append(row)
        for key, writes in list(self.writes.items()):
            for (task, index), (_, channel, value, path) in list(writes.items()):
                found["writes"].append([*key, task, index, channel, _packed(value), path])
        for blob, value in list(self.blobs.items()):
            found["blobs"].append([*blob, _packed(value)])
        return found if LIVE not in _types(found) else None

    def load(self, stored: Any) -> None:
        """Take up what was kept."""
        for thread, graph, id, checkpoint, metadata, parent in stored["storage"]:
            row = _unpacked(checkpoint), _unpacked(metadata), parent
            self.storage[thread][graph][id] = row
        for thread, graph, id, task, index, channel, value, path in stored["writes"]:
            self.writes[thread, graph, id][task, index] = task, channel, _unpacked(value), path
        for thread, graph, channel, version, value in stored["blobs"]:
            self.blobs[thread, graph, channel, version] = _unpacked(value)


def watched(saver: Any, progress: Progress) -> Any:
    """A durable checkpointer that reports the steps of the turn's graphs."""
    found = copy.copy(saver)

    async def aput(config: RunnableConfig, *given: Any, **named: Any) -> RunnableConfig:
        stored: RunnableConfig = await saver.aput(config, *given, **named)
        progress.passed_step(config["configurable"].get("checkpoint_ns", ""))
        await progress.keep()
        return stored

    found.aput = aput
    return found


def is_within(graph: str, outer: str) -> bool:
    """Whether a namespace is that of a task of another one, or lies within it."""
    if graph == outer or not graph.startswith(outer):
        return False
    inner = graph[len(outer) :].removeprefix("|")
    return ":" in inner.partition("|")[0]


def _packed(typed: tuple[str, bytes]) -> list[str]:
    return [typed[0], b64encode(typed[1]).decode()]


def _unpacked(packed: list[str]) -> tuple[str, bytes]:
    return packed[0], b64decode(packed[1])


def _types(found: dict[str, list[Any]]) -> set[str]:
    rows = [row for rows in found.values() for row in rows]
    return {value[0] for row in rows for value in row if isinstance(value, list)}

"""The columns of a session's row, in their order: the one place that lists them.

The turn that runs is the last of them, and not written with the others: it comes and goes more often.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from sessile.store.base import Row, RunningTurn
from sessile.wire.codec import encode, readable
from sessile.wire.messages import decode_metadata

COLUMNS = (
    "id",
    "title",
    "seq",
    "message_count",
    "queued",
    "created_at",
    "updated_at",
    "archived",
    "metadata",
    "private",
    "epoch",
    "owner",
    "held",
    "running",
)
WRITTEN = COLUMNS[:-1]
NOTHING = b"{}"

_decode_running = msgspec.json.Decoder(RunningTurn).decode


def values_of(row: Row) -> tuple[Any, ...]:
    """A row's values in the order of ``WRITTEN``, JSON as bytes and flags as 0 or 1."""
    return (
        row.id,
        row.title,
        row.seq,
        row.message_count,
        row.queued,
        row.created_at,
        row.updated_at,
        int(row.archived),
        encode(row.metadata) if row.metadata else NOTHING,
        encode(row.private) if row.private else NOTHING,
        row.epoch,
        row.owner,
        int(row.held),
    )


@readable
def row_of(values: Sequence[Any]) -> Row:
    """The row that has these values; raises :class:`~sessile.wire.errors.SessionUnreadable`."""
    (
        id,
        title,
        seq,
        message_count,
        queued,
        created_at,
        updated_at,
        archived,
        metadata,
        private,
        epoch,
        owner,
        held,
        running,
    ) = values
    return Row(
        id,
        title,
        seq,
        message_count,
        queued,
        created_at,
        updated_at,
        bool(archived),
        decode_metadata(metadata) if metadata != NOTHING else {},
        _decode_running(running) if running else None,
        decode_metadata(private) if private != NOTHING else {},
        epoch,
        owner,
        bool(held),
    )

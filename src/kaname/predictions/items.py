"""What is kept of a request until it is written."""

from __future__ import annotations

from collections.abc import Sequence

from kaname.call import Answer, Call, Outcome, Outputs, Row
from kaname.errors import KanameError
from kaname.tensors import Tensor

Item = tuple[
    str, int, int, int, str, Sequence[Row] | None, tuple[Tensor, ...] | None, Outputs | KanameError, int, int | None
]
"""A request id, start and end (monotonic ns), rows, key id, the table or the tensors, and what came of them: the
outputs of a run and which of its rows, or the error. A plain tuple: one is made per request, and the call can go. Where
the run has its cells (`Outputs.cells`), the table is left out."""


def item_of(call: Call, outcome: Outcome, ended_ns: int) -> Item:
    """What is kept of a call until it is written."""
    if type(outcome) is Answer:
        run = outcome.outputs
        return (
            call.request_id, call.started_ns, ended_ns, call.rows, call.principal.key_id,
            call.table if run.cells is None else None, call.tensors, run, outcome.start, outcome.stop,
        )  # fmt: skip
    assert isinstance(outcome, KanameError)
    return (
        call.request_id, call.started_ns, ended_ns, call.rows, call.principal.key_id, call.table, call.tensors,
        outcome, 0, None,
    )  # fmt: skip


def run_items(calls: Sequence[Call], run: Outputs) -> list[Item]:
    """The same of all calls that one run answered, in the order of their rows."""
    items: list[Item] = []
    start, celled = 0, run.cells is not None
    for call in calls:
        stop = start + call.rows
        items.append((
            call.request_id, call.started_ns, call.ended_ns, call.rows, call.principal.key_id,
            None if celled else call.table, call.tensors, run, start, stop,
        ))  # fmt: skip
        start = stop
    return items

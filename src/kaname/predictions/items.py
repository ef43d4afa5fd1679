"""What is kept of a request until it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kaname.call import Answer, Call, Outcome, Outputs, Row, TraceOf
from kaname.errors import KanameError
from kaname.tensors import Tensor

Item = tuple[
    str, int, int, int, str, Sequence[Row] | None, tuple[Tensor, ...] | None, Outputs | KanameError, int, int | None,
    str,
]  # fmt: skip
"""A request id, start and end (monotonic ns), rows, key id, the table or the tensors, what came of them (the outputs of
a run and which of its rows, or the error), and the id of its trace, empty where it has none. A plain tuple: one is made
per request, and the call can go. Where the run has its cells (`Outputs.cells`), the table is left out."""


def item_of(call: Call, outcome: Outcome, ended_ns: int) -> Item:
    """What is kept of a call until it is written."""
    if type(outcome) is Answer:
        run = outcome.outputs
        return (
            call.request_id, call.started_ns, ended_ns, call.rows, call.principal.key_id,
            call.table if run.cells is None else None, call.tensors, run, outcome.start, outcome.stop, "",
        )  # fmt: skip
    assert isinstance(outcome, KanameError)
    return (
        call.request_id, call.started_ns, ended_ns, call.rows, call.principal.key_id, call.table, call.tensors,
        outcome, 0, None, "",
    )  # fmt: skip


def traced_item_of(trace_of: TraceOf) -> Callable[[Call, Outcome, int], Item]:
    """The same of calls that belong to traces."""

    def made(call: Call, outcome: Outcome, ended_ns: int) -> Item:
        return (*item_of(call, outcome, ended_ns)[:-1], trace_of(call))

    return made


class RunItems(NamedTuple):
    """The same of all calls that one run answered, in the order of its rows: a column each, which costs a tenth of as
    many tuples to make, and most of what is written is columns too."""

    ids: list[str]
    started: list[int]
    ended: list[int]
    rows: list[int]
    keys: list[str]
    tables: list[Sequence[Row] | None] | None
    """None where the run has its cells."""
    tensors: list[tuple[Tensor, ...] | None] | None
    """Likewise."""
    run: Outputs

    def slices(self) -> Iterator[tuple[Outputs, int, int]]:
        """The rows of each call in the outputs of the run."""
        stop = 0
        for rows in self.rows:
            start, stop = stop, stop + rows
            yield self.run, start, stop

    def items(self) -> list[Item]:
        """One by one."""
        tables = self.tables or [None] * len(self.ids)
        tensors = self.tensors or [None] * len(self.ids)
        each = zip(self.ids, self.started, self.ended, self.rows, self.keys, tables, tensors, strict=True)
        return [(*item, *of_run, "") for item, of_run in zip(each, self.slices(), strict=True)]


def run_items(calls: Sequence[Call], run: Outputs) -> RunItems:
    """What is kept of the calls that `run` answered."""
    celled = run.cells is not None
    return RunItems(
        [call.request_id for call in calls],
        [call.started_ns for call in calls],
        [call.ended_ns for call in calls],
        [call.rows for call in calls],
        [call.principal.key_id for call in calls],
        None if celled else [call.table for call in calls],
        None if celled else [call.tensors for call in calls],
        run,
    )

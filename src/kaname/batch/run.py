"""A batch run: rows of a file through one version into another file, each of them once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from kaname.arrow import Array, RecordBatch, arrow
from kaname.batch.answers import Answers
from kaname.batch.columns import spread
from kaname.batch.csv_input import CsvSource
from kaname.batch.journal import Entry, Files, InputIdentity, Working
from kaname.batch.json_input import JsonLinesSource
from kaname.batch.model import Model
from kaname.batch.named import check_free
from kaname.batch.output import ROW, encoder_of
from kaname.batch.parquet_input import ParquetSource
from kaname.batch.types import PURPOSE, BadCell, Chunk, Format, Options, Progress, Source, Summary, mask_of
from kaname.clock import Clock
from kaname.errors import Conflict, InvalidInput
from kaname.models.types import VersionInfo
from kaname.runtimes.types import Session
from kaname.settings import ModelConfig
from kaname.signature import Signature

COMMIT_S = 1.0
"""How much of a run a crash undoes, at most."""
_AHEAD = 2
"""Chunks read beyond those that are being predicted."""
_SOURCES: dict[Format, Callable[[Path, Signature, Options], Source]] = {
    "csv": CsvSource,
    "jsonl": JsonLinesSource,
    "parquet": ParquetSource,
}


class Stopped(Exception):
    """Somebody asked the run to stop; what it did so far is kept, and the same run goes on from there."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to predict, with what, into which file."""

    version: VersionInfo
    config: ModelConfig
    input: Path
    output: Path
    options: Options
    threads: int = 1
    restart: bool = False
    """Begin anew, in place of whatever the output or an unfinished run left."""


class _Done(msgspec.Struct, frozen=True):
    """A chunk with its answers; `good` is None when no row was bad."""

    count: int
    good: NDArray[np.bool_] | None
    bad: tuple[BadCell, ...]
    kept: dict[str, Array]
    answers: list[Array]


class Run:
    """One task from where it is to its end. Reading and writing happen on the calling thread, decoding and
    inference on `threads` others: most of it outside the interpreter's lock."""

    def __init__(
        self,
        task: Task,
        open_session: Callable[[], Session],
        clock: Clock,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
        commit_s: float = COMMIT_S,
    ) -> None:
        """Raises InvalidInput when the input lacks what the model needs, MissingDependency without pyarrow."""
        pa = arrow(PURPOSE).pa
        self._task = task
        self._clock = clock
        self._progress = progress
        self._stop = stop
        self._commit_ns = int(commit_s * 1e9)
        self._files = Files(task.output)
        self._identity = InputIdentity.of(task.input)
        _check_places(task)
        self._source = _source(task)
        self._answers = Answers(task.version.signature)
        self._model = Model(open_session)
        fields = [pa.field(ROW, pa.int64()), *self._source.kept, *self._answers.fields]
        kept = [field.name for field in self._source.kept]
        check_free(kept, [ROW, *(field.name for field in self._answers.fields)])
        self._schema = pa.schema(fields)
        self._encoder = encoder_of(task.options.output_format, self._schema)

    def run(self) -> Summary:
        """Do what is left to do. Raises Conflict when the output is there already, belongs to another task or is
        being written; InvalidInput for a bad row under `fail`; Stopped."""
        began = self._clock.monotonic_ns()
        files = self._files
        if files.output.exists() and not files.journal.exists() and not self._task.restart:
            raise Conflict(
                "the output exists already",
                where=str(files.output),
                expected="another name, or --restart to replace it",
            )
        working = Working(files)
        try:
            entry = self._entry(working)
            first = entry.rows
            entry = self._complete(working, entry)
            self._finish(entry)
        finally:
            self._model.close()
            working.close()
        return Summary(
            rows=entry.rows,
            bad=entry.bad,
            resumed_at=first,
            seconds=(self._clock.monotonic_ns() - began) / 1e9,
            model=entry.model,
            version=entry.version,
            output=str(files.output),
            errors=str(files.errors) if entry.bad else None,
        )

    # --- beginning and end ------------------------------------------------------------------------------

    def _entry(self, working: Working) -> Entry:
        """Where to go on."""
        found = None if self._task.restart else self._files.entry()
        if found is None:
            working.begin(entry := self._new_entry())
            working.write(self._encoder.head(), b"")
            return working.commit(entry)
        self._compare(found)
        if not found.complete:
            working.begin(found)
        options = msgspec.structs.replace(found.options, on_error=self._task.options.on_error)
        return msgspec.structs.replace(found, options=options)

    def _new_entry(self) -> Entry:
        task, version = self._task, self._task.version
        first = next(iter(self._source.chunks((0, 0))), None)
        rows = () if first is None else self._source.decode(first).inputs
        return Entry(
            input=self._identity,
            model=version.model,
            version=version.version,
            version_id=version.id,
            options=task.options,
            run_rows=self._model.run_rows(version.profile, task.config, rows),
        )

    def _compare(self, found: Entry) -> None:
        """Raise Conflict unless the unfinished run is this one."""
        task, options = self._task, self._task.options
        if found.bad == 0:
            options = msgspec.structs.replace(options, on_error=found.options.on_error)
        differences = (
            ("another version", f"{found.model}/{found.version}", f"{task.version.model}/{task.version.version}"),
            ("another version", found.version_id, task.version.id),
            ("the input has changed", found.input, self._identity),
            ("other options", found.options, options),
        )
        for what, begun, now in differences:
            if begun != now:
                raise Conflict(
                    f"a run into this output was begun and not finished, and {what}: --restart begins anew",
                    where=str(self._files.journal),
                    found=_said(now),
                    expected=_said(begun),
                )

    def _finish(self, entry: Entry) -> None:
        """Give the files their names; asked again after a crash, it goes on."""
        files = self._files
        if files.part.stat().st_size >= entry.part_bytes:  # else it has its name already
            if entry.bad:
                if files.errors_part.exists():
                    files.errors_part.replace(files.errors)
            else:
                files.errors.unlink(missing_ok=True)
            self._encoder.finish(files.part, files.output)
        files.forget()

    # --- the rows ---------------------------------------------------------------------------------------

    def _complete(self, working: Working, entry: Entry) -> Entry:
        """Read, predict and write what is left."""
        if entry.complete:
            return entry
        committed = self._clock.monotonic_ns()
        threads = self._task.threads
        waiting: deque[tuple[Chunk, Future[_Done]]] = deque()
        with ThreadPoolExecutor(threads, "kaname-batch") as pool:
            try:
                for chunk in _and_an_end(self._source.chunks(entry.position)):
                    if chunk is not None:
                        waiting.append((chunk, pool.submit(self._predict, chunk, entry.run_rows)))
                    while waiting and (chunk is None or len(waiting) >= threads + _AHEAD):
                        read, future = waiting.popleft()
                        entry = self._write(working, entry, read, future.result())
                        if self._clock.monotonic_ns() - committed > self._commit_ns:
                            entry = working.commit(entry)
                            committed = self._clock.monotonic_ns()
                        if self._stop():
                            working.commit(entry)
                            raise Stopped
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return working.commit(msgspec.structs.replace(entry, complete=True))

    def _predict(self, chunk: Chunk, run_rows: int) -> _Done:
        rows = self._source.decode(chunk)
        good = rows.good
        outputs, failed = self._model.answer(rows.inputs, run_rows)
        bad = rows.bad
        if failed:
            places = np.flatnonzero(good)
            moved = [msgspec.structs.replace(cell, row=int(places[cell.row])) for cell in failed]
            bad = tuple(sorted([*bad, *moved], key=lambda cell: cell.row))
            good = mask_of(rows.count, bad)
        pa = arrow(PURPOSE).pa
        empty = [pa.array([], field.type) for field in self._answers.fields]
        answers = self._answers.columns(outputs) if outputs else empty
        return _Done(rows.count, good if bad else None, bad, rows.kept, answers)

    def _write(self, working: Working, entry: Entry, chunk: Chunk, done: _Done) -> Entry:
        if done.bad and entry.options.on_error == "fail":
            working.commit(entry)
            raise self._refusal(done.bad[0], entry.rows)
        errors = b"".join(_error_line(cell, entry.rows) for cell in done.bad)
        batch = self._batch(done, entry.rows + 1, skip=entry.options.on_error == "skip")
        working.write(self._encoder.encode(batch) if batch.num_rows else b"", errors)
        bad = 0 if done.good is None else int(done.count - done.good.sum())
        entry = msgspec.structs.replace(entry, position=chunk.after, rows=entry.rows + done.count, bad=entry.bad + bad)
        self._progress(Progress(rows=entry.rows, bad=entry.bad, done=chunk.done, total=self._source.total))
        return entry

    def _batch(self, done: _Done, first: int, *, skip: bool) -> RecordBatch:
        pa = arrow(PURPOSE).pa
        numbers = np.arange(first, first + done.count, dtype=np.int64)
        kept, answers = list(done.kept.values()), done.answers
        if done.good is not None and skip:
            numbers = numbers[done.good]
            kept = [array.filter(pa.array(done.good)) for array in kept]
        elif done.good is not None:
            answers = [spread(array, np.flatnonzero(done.good), done.count) for array in answers]
        return pa.RecordBatch.from_arrays([pa.array(numbers), *kept, *answers], schema=self._schema)

    def _refusal(self, cell: BadCell, before: int) -> InvalidInput:
        column = f", column {cell.column}" if cell.column is not None else ""
        return InvalidInput(
            f"{cell.message} (the rows before it are kept; under the policy skip or null the run goes on)",
            where=f"{self._task.input}: row {before + cell.row + 1}{column}",
            found=cell.found,
            expected=cell.expected,
        )


def _and_an_end(chunks: Iterable[Chunk]) -> Iterable[Chunk | None]:
    yield from chunks
    yield None


def _source(task: Task) -> Source:
    return _SOURCES[task.options.input_format](task.input, task.version.signature, task.options)


def _check_places(task: Task) -> None:
    if not task.output.parent.is_dir():
        raise InvalidInput("there is no such folder for the output", where=str(task.output.parent))
    if task.output.is_dir():
        raise InvalidInput("the output is a folder", where=str(task.output), expected="the name of a file")
    if task.output.exists() and task.output.samefile(task.input):
        raise InvalidInput("the output is the input", where=str(task.output), expected="another file")


def _error_line(cell: BadCell, before: int) -> bytes:
    said = {"row": before + cell.row + 1, "column": cell.column, "message": cell.message}
    said |= {"found": cell.found, "expected": cell.expected}
    return msgspec.json.encode({name: value for name, value in said.items() if value is not None}) + b"\n"


def _said(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

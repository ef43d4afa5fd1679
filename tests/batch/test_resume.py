"""A run that ended too early goes on, and in the end nobody can tell."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import pytest

from kaname.batch import journal, lines, parquet_input
from kaname.batch.run import Stopped
from kaname.errors import Conflict, CorruptData
from tests.batch.project import FORMATS, Batches, flowers, read, write
from tests.processes import until


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks in little files."""
    monkeypatch.setattr(lines.blocks, "__kwdefaults__", {"block_bytes": 2000, "longest": 1 << 20})
    monkeypatch.setattr(parquet_input, "ROWS", 37)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("form", FORMATS)
def test_a_run_stopped_anywhere_and_continued_gives_the_same_file(batches: Batches, tmp_path: Path, form: str) -> None:
    """Stopped after every chunk, with what no commit wrote behind the committed part, as a crash leaves it."""
    rows = flowers(500)
    rows[123]["colour"] = rows[400]["colour"] = "green"
    source = write(tmp_path / f"in.{form}", rows)
    whole, parts = tmp_path / f"whole.{form}", tmp_path / f"parts.{form}"
    batches.run(batches.task("flowers", source, whole, on_error="null", keep=["name"]))
    task = batches.task("flowers", source, parts, on_error="null", keep=["name"])
    resumed = []
    for stops in count():
        chunks = iter(range(stops % 3))
        try:
            done = batches.run(task, stop=partial(_is_over, chunks))
        except Stopped:
            for name in (parts.name + ".part", parts.name + ".errors.part"):
                with (tmp_path / name).open("ab") as file:
                    file.write(b"torn")
            continue
        resumed.append(done.resumed_at)
        break
    assert stops > 3
    assert resumed[0] > 0
    assert parts.read_bytes() == whole.read_bytes()
    assert Path(done.errors or "").read_bytes() == (tmp_path / f"whole.{form}.errors.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".part", ".journal", ".draft")) == []


def _is_over(turns: Iterator[int]) -> bool:
    return next(turns, None) is None


@pytest.mark.slow  # starts processes until one survives
@pytest.mark.parametrize("form", FORMATS)
def test_a_killed_process_loses_and_repeats_nothing(batches: Batches, tmp_path: Path, form: str) -> None:
    """`kill -9` at random moments, until a run comes to its end; each goes on where the last commit was."""
    rows = flowers(3_000)
    for at in range(0, 3_000, 171):
        rows[at]["colour"] = "green"
    source, output = write(tmp_path / f"in.{form}", rows), tmp_path / f"out.{form}"
    batches.run(batches.task("flowers", source, tmp_path / f"whole.{form}", keep=["name"], on_error="skip"))
    command = [sys.executable, "-m", "tests.batch.killable", str(batches.folder), str(source), str(output)]
    draw, reached = random.Random(7), [0]
    while not output.exists():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        began = reached[-1]
        until(partial(_has_gone_on, output, began + draw.randrange(600, 1_800), process), "the run goes on", 60.0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(_rows(output))
    assert sum(after > before for before, after in pairwise(reached)) >= 1
    assert output.read_bytes() == (tmp_path / f"whole.{form}").read_bytes()
    errors = [(tmp_path / f"{name}.{form}.errors.jsonl").read_bytes() for name in ("out", "whole")]
    assert errors[0] == errors[1]


def _rows(output: Path) -> int:
    entry = journal.Files(output).entry()
    return 0 if entry is None else entry.rows


def _has_gone_on(output: Path, row: int, process: subprocess.Popen[str]) -> bool:
    """Whether the run is at a row, or at its end."""
    return process.poll() is not None or _rows(output) >= row


@pytest.mark.usefixtures("small_chunks")
def test_another_task_is_not_continued(batches: Batches, tmp_path: Path) -> None:
    """Another input, other options or another version: refused, and what was done stays; --restart begins anew."""
    source, output = write(tmp_path / "in.csv", flowers(500)), tmp_path / "out.csv"
    task = batches.task("flowers", source, output)
    with pytest.raises(Stopped):
        batches.run(task, stop=lambda: True)
    with pytest.raises(Conflict, match="other options"):
        batches.run(batches.task("flowers", source, output, keep=["name"]))
    with pytest.raises(Conflict, match="another version"):
        batches.run(batches.task("house", write(tmp_path / "house.csv", [{"area": 1, "rooms": 2}]), output))
    before = source.read_bytes()
    write(source, flowers(500, seed=2))
    with pytest.raises(Conflict, match="the input has changed"):
        batches.run(task)
    assert batches.run(batches.task("flowers", source, output, restart=True)).resumed_at == 0
    assert len(read(output)) == 500
    assert source.read_bytes() != before


@pytest.mark.usefixtures("small_chunks")
def test_after_a_bad_row_the_run_goes_on_under_another_policy(batches: Batches, tmp_path: Path) -> None:
    """No row before it was bad, so nothing that is written would differ."""
    rows = flowers(300)
    rows[250]["colour"] = "green"
    source, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    with pytest.raises(Exception, match="unknown category"):
        batches.run(batches.task("flowers", source, output))
    done = batches.run(batches.task("flowers", source, output, on_error="skip"))
    assert 100 < done.resumed_at <= 250
    assert (done.rows, done.bad, len(read(output))) == (300, 1, 299)


@pytest.mark.usefixtures("small_chunks")
def test_one_run_at_a_time_writes_an_output(batches: Batches, tmp_path: Path) -> None:
    """A second one is refused while the first has not ended."""
    source, output = write(tmp_path / "in.csv", flowers(300)), tmp_path / "out.csv"
    task = batches.task("flowers", source, output)
    refused = []

    def another() -> bool:
        with pytest.raises(Conflict, match="another run is writing"):
            batches.run(task)
        refused.append(1)
        return False

    batches.run(task, stop=another)
    assert refused
    assert len(read(output)) == 300


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("form", FORMATS)
def test_a_crash_between_the_last_row_and_the_name(batches: Batches, tmp_path: Path, form: str) -> None:
    """Complete, not renamed: it only gets its name. Renamed, journal not removed: the journal goes."""
    source, output = write(tmp_path / "in.csv", flowers(100)), tmp_path / f"out.{form}"
    task = batches.task("flowers", source, output)
    files = journal.Files(output)

    def crash(self: journal.Files) -> None:
        raise OSError("the power went out")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.Files, "forget", crash)
        with pytest.raises(OSError, match="power"):
            batches.run(task)
    whole = output.read_bytes()
    assert files.journal.exists()
    assert batches.run(task).resumed_at == 100
    assert output.read_bytes() == whole
    assert not files.journal.exists()
    assert not files.part.exists()


def test_a_damaged_journal_or_part_is_said(batches: Batches, tmp_path: Path) -> None:
    """Never guessed over."""
    source, output = write(tmp_path / "in.csv", flowers(100)), tmp_path / "out.csv"
    task = batches.task("flowers", source, output)
    with pytest.raises(Stopped):
        batches.run(task, stop=lambda: True)
    files = journal.Files(output)
    os.truncate(files.part, 5)
    with pytest.raises(CorruptData, match="shorter than its journal"):
        batches.run(task)
    files.journal.write_bytes(b"{")
    with pytest.raises(CorruptData, match="cannot be read"):
        batches.run(task)
    assert batches.run(batches.task("flowers", source, output, restart=True)).rows == 100

"""Imports run in a child process: what goes wrong there is an error here, and nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from kaname.errors import CorruptData, DeadlineExceeded, InvalidInput, ModelFailed
from kaname.models.importing.process import (
    Failure,
    ImportJob,
    ReprofileJob,
    decode_job,
    encode,
    reprofile,
    run_import,
)
from kaname.models.importing.types import Imported, ImportRequest
from kaname.models.types import VersionInfo
from tests.runtimes import graphs


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, (self.code,))


def bomb(folder: Path, code: str) -> Path:
    import pickle

    path = folder / "bomb.pkl"
    path.write_bytes(pickle.dumps(Bomb(code)))
    return path


def imported(path: Path, workdir: Path, timeout_s: float = 100) -> Imported:
    return run_import(ImportRequest(path=path, trust_pickle=True, timeout_s=timeout_s), workdir)


def version_of(found: Imported) -> VersionInfo:
    return VersionInfo(
        id=1, model="m", model_id=1, version="1", status="deployed", artefact="", source=found.source,
        runtime=found.runtime, signature=found.signature, profile=found.profile, choices=found.choices,
        sample=found.sample, created_us=0,
    )  # fmt: skip


def test_an_onnx_file_is_imported_and_profiled_again(tmp_path: Path) -> None:
    """Everything that the child found arrives; a second profile agrees on the facts."""
    path = graphs.doubled(tmp_path / "m.onnx")
    found = imported(path, tmp_path / "work")
    assert (found.source, found.runtime, found.signature.task) == ("onnx", "onnx", "other")
    assert found.files.parent == tmp_path / "work"
    assert list((tmp_path / "work").iterdir()) == [found.files]
    assert [p.name for p in found.files.iterdir()] == ["model.onnx"]
    assert found.profile.splits
    assert found.profile.exact
    measured, runtime, choices = reprofile(version_of(found), found.files)
    assert (runtime, measured.exact, measured.splits) == ("onnx", True, True)
    assert choices[0].chosen


def test_a_pickle_needs_trust(tmp_path: Path) -> None:
    """Without the flag nothing is read, and the error says why."""
    flag = tmp_path / "ran"
    path = bomb(tmp_path, f"open({str(flag)!r}, 'w')")
    with pytest.raises(InvalidInput, match=r"can run any code .*--trust-pickle"):
        run_import(ImportRequest(path=path), tmp_path)
    assert not flag.exists()


def test_a_hostile_pickle_finds_no_network(tmp_path: Path) -> None:
    """It runs, since it was trusted, but cannot reach even this machine."""
    from kaname.models.importing.isolation import leave_network

    probe = os.fork()
    if probe == 0:
        os._exit(0 if leave_network() else 1)
    if os.waitpid(probe, 0)[1] != 0:
        pytest.skip("this system does not allow a process to leave the network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        path = bomb(tmp_path, f"import socket; socket.create_connection(('127.0.0.1', {port}), 5).send(b'secret')")
        with pytest.raises(CorruptData, match=r"OSError|unreachable|refused"):
            imported(path, tmp_path)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"SIGKILL \(out of memory\?\)"),
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("import os, sys; print('last words', file=sys.stderr, flush=True); os._exit(7)", "status 7.*last words"),
    ],
)
def test_a_child_that_dies_is_an_error_that_says_how(tmp_path: Path, code: str, says: str) -> None:
    """Signal or exit status, and the end of what it printed."""
    with pytest.raises(ModelFailed, match=says):
        imported(bomb(tmp_path, code), tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    """The time limit holds, and the process is gone afterwards."""
    note = tmp_path / "pid"
    path = bomb(tmp_path, f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    with pytest.raises(DeadlineExceeded, match="took longer than 2 s"):
        imported(path, tmp_path, timeout_s=2)
    if note.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(note.read_text()), 0)


def test_prints_of_a_model_do_not_disturb_the_reply(tmp_path: Path) -> None:
    """Libraries print to stdout; the reply has a pipe of its own."""
    (tmp_path / "loud.py").write_text(
        "import os\nprint('loud')\nos.write(1, b'louder')\n"
        "class Loud:\n"
        "    signature = {'task': 'other', 'inputs': [{'name': 'x', 'datatype': 'FP64', 'shape': [-1, 2]}],\n"
        "                 'outputs': [{'name': 'y', 'datatype': 'FP64', 'shape': [-1, 2]}]}\n"
        "    def predict(self, batch):\n        return batch['x'] * 2\n"
    )
    assert imported(tmp_path / "loud.py", tmp_path).runtime == "python"


def test_an_error_crosses_the_pipe_with_its_fields() -> None:
    """Class and fields survive."""
    error = InvalidInput("no", where="a.b", found="1", expected="2")
    again = Failure.of(error).error()
    assert type(again) is InvalidInput
    assert str(again) == str(error)


def test_jobs_cross_the_pipe(tmp_path: Path) -> None:
    """A job is the same on the other side, paths included."""
    job = ImportJob(request=ImportRequest(path=Path("a.onnx"), sample=tmp_path), workdir=tmp_path)
    assert decode_job(encode(job)) == job
    with pytest.raises(msgspec.DecodeError):
        decode_job(b"\x93")
    assert ReprofileJob.__struct_config__.tag == "reprofile"

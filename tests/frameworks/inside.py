"""What the suites have in common that run inside an environment with a framework."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kaname.models.importing.process import run_import
from kaname.models.importing.sample import narrow
from kaname.models.importing.types import Imported, ImportRequest, Tensors
from kaname.platform import Platform
from kaname.runtimes.catalog import open_session
from kaname.runtimes.types import SessionOptions

ROWS = np.random.default_rng(3).normal(size=(16, 4)).astype(np.float32)


def imported(path: Path, **options: Any) -> Imported:
    """The file, imported as `kaname model add` does: in a process of its own."""
    return run_import(ImportRequest(path=path, **options), path.parent / "work")


def sampled(folder: Path, **arrays: Any) -> Path:
    """A sample of the arrays by name."""
    np.savez(folder / "sample.npz", **arrays)
    return folder / "sample.npz"


def answers(found: Imported, inputs: Tensors, runtime: str | None = None) -> Tensors:
    """What a runtime of the version, the chosen one unless told, answers."""
    session = open_session(runtime or found.runtime, found.files, found.signature, SessionOptions())
    try:
        return session.run(narrow(inputs, found.signature))
    finally:
        session.close()


def agree(found: Imported, inputs: Tensors, wanted: Callable[[], tuple[Any, ...]]) -> None:
    """Every runtime that passed answers as the original does, for all rows together and for one alone."""
    for choice in found.choices:
        if choice.profile is not None:
            for rows in (len(inputs[0]), 1):
                given = tuple(x[:rows] for x in inputs)
                for got, want in zip(answers(found, given, choice.runtime), wanted(), strict=True):
                    np.testing.assert_allclose(got, np.asarray(want)[:rows], atol=1e-4, rtol=1e-4)


def make_project(folder: Path, model: Path, **options: Any) -> None:
    """A project whose only model, `net`, is the file."""
    folder.mkdir()
    (folder / "kaname.yaml").write_text("name: frameworks\n")
    with Platform(folder) as platform:
        platform.models.add("net", model, who="test", **options)


def predict_elsewhere(project: Path, features: dict[str, Any], library: str, home: Path) -> bool:
    """Let a process with an empty HOME predict; whether it has imported `library`. HOME stays empty."""
    home.mkdir()
    code = (
        "import sys; from kaname.platform import Platform\n"
        f"with Platform({str(project)!r}) as platform:\n"
        f"    assert platform.predict('net', {features!r}).prediction is not None\n"
        f"    print({library!r} in sys.modules)"
    )
    kept = {
        k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY") and not k.startswith("XDG_")
    }
    environ = {**kept, "HOME": str(home), "TMPDIR": str(home)}
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert list(home.rglob("*")) == []
    return ran.stdout.splitlines()[-1] == "True"

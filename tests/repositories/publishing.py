"""How people put models into a repository that is watched: well, and badly."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from tests.models.world import write_model
from tests.processes import until


def staged(root: Path, factor: float, name: str = "model.onnx") -> Path:
    """A finished folder beside the models, under a name that is not looked at."""
    folder = Path(tempfile.mkdtemp(prefix=".staged-", dir=root))
    write_model(folder / name, factor)
    return folder


def publish(root: Path, model: str, version: str, factor: float) -> Path:
    """A version that multiplies by `factor`, renamed into place."""
    place = root / model / version
    place.parent.mkdir(exist_ok=True)
    return moved(staged(root, factor), place)


def moved(folder: Path, place: Path) -> Path:
    """Rename, not within the same tick of the clock as the folder's last change."""
    ticked(folder)
    return folder.rename(place)


def ticked(folder: Path) -> None:
    """Wait until the kernel's clock has moved on since anything in the folder was changed."""
    last = max(path.stat().st_ctime_ns for path in (folder, *folder.rglob("*")))

    def later() -> bool:
        with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=".tick-") as probe:
            return Path(probe.name).stat().st_mtime_ns > last

    until(later, "the clock moves on")


def sums(folder: Path) -> str:
    """What `sha256sum` prints of everything in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    return "".join(lines)

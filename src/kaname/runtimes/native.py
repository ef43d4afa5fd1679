"""Shared libraries of Python packages, opened without importing the package (which costs up to 80 MB of memory)."""

from __future__ import annotations

import ctypes
import functools
from importlib.util import find_spec
from pathlib import Path

from kaname.errors import MissingDependency


@functools.cache
def open_library(package: str, file: str, extra: str, purpose: str) -> ctypes.CDLL:
    """The library `file` inside the installed `package`.

    Raises MissingDependency when the package is not installed, or when the system lacks a library that it
    needs (LightGBM needs the system's libgomp).
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependency.of(package, extra, purpose)
    path = Path(spec.origin).parent / "lib" / file
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise MissingDependency(advice(package, str(error)), found=str(error)) from error


def advice(package: str, reason: str) -> str:
    """What to do when the loader refused the library of `package` with `reason`."""
    if "libgomp" in reason:
        return f"{package} needs the system library libgomp: apt install libgomp1 (Debian) or yum install libgomp"
    return f"the native library of {package} cannot be loaded"


def check(code: int, last_error: str, doing: str) -> None:
    """Raise RuntimeError with the library's own message unless `code` is 0."""
    if code != 0:
        raise RuntimeError(f"{doing}: {last_error.strip()}")

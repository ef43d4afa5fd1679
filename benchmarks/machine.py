"""The machine and the versions that a measurement was taken with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str]:
    """Processor, cores, memory, kernel, and the libraries on the path of a request."""
    libraries = {name: _installed(name) for name in ("onnxruntime", "uvloop", "httptools", "uvicorn", "numpy")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        **libraries,
        "device": _device(),
        "wrk": _wrk(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _device() -> str:
    """Where models run: what onnxruntime would choose."""
    import onnxruntime

    return "CUDA" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "CPU"


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _wrk() -> str:
    try:
        said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (said.stdout + said.stderr).split("[")[0].removeprefix("wrk").strip()

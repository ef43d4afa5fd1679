"""What `kaname doctor` finds out about a machine; each question is one function that returns findings."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from kaname.cli.findings import Finding
from kaname.clock import Clock
from kaname.errors import InvalidInput
from kaname.serving.workers.lock import Holder, holder
from kaname.settings import Settings

FSYNC_TRIES = 20
SLOW_FSYNC_MS, VERY_SLOW_FSYNC_MS = 20.0, 200.0
LOW_DISK_BYTES, NO_DISK_BYTES = 2 * 1024**3, 256 * 1024**2
FEW_FILES = 4096
SKEW_S = 2.0
BUILT_S = 1_760_000_000
"""A moment before this code was written (October 2025): a clock that shows less is wrong."""
_TIME_ERROR = 5
"""What adjtimex(2) returns when nothing keeps the clock in step."""
_TIMEX_BYTES = 512

REQUIRED = ("onnxruntime", "numpy", "lmdb", "msgspec", "sqlalchemy", "alembic", "starlette", "uvicorn", "uvloop")
OPTIONAL = {
    "scikit-learn": "sklearn",
    "skl2onnx": "sklearn",
    "lightgbm": "lightgbm",
    "xgboost-cpu": "xgboost",
    "pyarrow": "arrow",
    "cryptography": "security",
    "obstore": "s3",
}
"""Library -> the extra that brings it."""


def examine(folder: Path, settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Every finding about this machine for a project in `folder`."""
    yield python()
    yield from libraries()
    yield openmp()
    yield cores(settings.server.workers)
    yield open_files()
    yield disk_space(folder)
    yield local_disk(folder)
    yield fsync(folder, clock)
    yield from clocks(folder, clock)
    running = holder(folder)
    yield port(settings.server.host, settings.server.port) if running is None else serving(running)


def python() -> Finding:
    """The interpreter and the system."""
    return Finding(
        subject="python", level="ok", found=f"{platform.python_version()} on {platform.platform(terse=True)}"
    )


def libraries() -> Iterator[Finding]:
    """Libraries that must be there, and those that some models need."""
    for name in REQUIRED:
        version = _version(name)
        if version is None:
            yield Finding(subject=name, level="fail", found="not installed", advice="pip install kaname")
        else:
            yield Finding(subject=name, level="ok", found=version)
    for name, extra in OPTIONAL.items():
        version = _version(name)
        advice = "" if version else f"only if you need it: pip install 'kaname[{extra}]'"
        yield Finding(subject=name, level="ok", found=version or "not installed", advice=advice)


def openmp() -> Finding:
    """The system's OpenMP library, which LightGBM loads."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        advice = "LightGBM models need it: apt-get install libgomp1"
        return Finding(subject="libgomp", level="warn", found="not found", advice=advice)
    return Finding(subject="libgomp", level="ok", found="libgomp.so.1")


def cores(workers: int) -> Finding:
    """Cores that this process may use, against the workers asked for."""
    usable = len(os.sched_getaffinity(0))
    found = f"{usable} usable, {workers} workers"
    if workers > usable:
        return Finding(subject="cores", level="warn", found=found, advice=f"set server.workers to {usable} or fewer")
    return Finding(subject="cores", level="ok", found=found)


def open_files(limit: int | None = None) -> Finding:
    """How many connections and files a worker may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = soft if limit is None else limit
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        advice = f"each connection takes one: ulimit -n {max(FEW_FILES, min(hard, 65_536))}"
        return Finding(subject="open files", level="warn", found=str(soft), advice=advice)
    return Finding(subject="open files", level="ok", found="unlimited" if soft == resource.RLIM_INFINITY else str(soft))


def disk_space(folder: Path, free: int | None = None) -> Finding:
    """Room for artefacts and the prediction record."""
    free = shutil.disk_usage(folder).free if free is None else free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < NO_DISK_BYTES:
        return Finding(subject="disk", level="fail", found=found, advice="make room before you serve: the record stops")
    if free < LOW_DISK_BYTES:
        return Finding(subject="disk", level="warn", found=found, advice="make room, or lower record.retain_bytes")
    return Finding(subject="disk", level="ok", found=found)


def local_disk(folder: Path) -> Finding:
    """Whether the folder lies on a disk of this machine."""
    from kaname.storage.mapped.filesystem import require_local

    try:
        require_local(folder)
    except InvalidInput as error:
        return Finding(
            subject="file system", level="fail", found=error.found or "", advice="move the project to a local disk"
        )
    return Finding(subject="file system", level="ok", found="local")


def fsync(folder: Path, clock: Clock) -> Finding:
    """How long the disk takes to make 4 KiB durable: the floor of a group commit."""
    times: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(FSYNC_TRIES):
            start = clock.monotonic_ns()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append((clock.monotonic_ns() - start) / 1e6)
    return judge_fsync(statistics.median(times), max(times))


def judge_fsync(median_ms: float, worst_ms: float) -> Finding:
    """What these times mean."""
    found = f"median {median_ms:.2f} ms, worst {worst_ms:.1f} ms"
    if median_ms > VERY_SLOW_FSYNC_MS:
        advice = "records lag far behind answers: use another disk"
        return Finding(subject="fsync", level="fail", found=found, advice=advice)
    if median_ms > SLOW_FSYNC_MS:
        advice = "records lag behind answers under load: a local SSD helps"
        return Finding(subject="fsync", level="warn", found=found, advice=advice)
    return Finding(subject="fsync", level="ok", found=found)


def clocks(folder: Path, clock: Clock) -> Iterator[Finding]:
    """The clock's source, whether something keeps it right, and whether the file system agrees with it."""
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    name = source.read_text().strip() if source.is_file() else "unknown"
    slow = name in ("hpet", "acpi_pm", "jiffies")
    advice = "reading the time is slow with it: prefer tsc or kvm-clock" if slow else ""
    yield Finding(subject="clock source", level="warn" if slow else "ok", found=name, advice=advice)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        skew = os.fstat(file.fileno()).st_mtime - clock.time_ns() / 1e9
    yield judge_clock(clock.time_ns() / 1e9, skew, in_step=_kept_in_step())


def judge_clock(now_s: float, skew_s: float, *, in_step: bool | None) -> Finding:
    """What the time, its difference from the file system's, and the kernel's opinion mean."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < BUILT_S:
        return Finding(subject="clock", level="fail", found=shown, advice="the clock is years behind: set it")
    if abs(skew_s) > SKEW_S:
        advice = "the file system's clock differs: event times and retention will not agree"
        return Finding(subject="clock", level="warn", found=f"{shown}, files {skew_s:+.1f} s", advice=advice)
    if in_step is False:
        advice = "nothing keeps it in step: run chrony or systemd-timesyncd"
        return Finding(subject="clock", level="warn", found=shown, advice=advice)
    return Finding(subject="clock", level="ok", found=shown)


def port(host: str, number: int) -> Finding:
    """Whether the server could listen where the settings say."""
    where = f"{host}:{number}"
    if number == 0:
        return Finding(subject="port", level="ok", found="any free one")
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
    except OSError as error:
        advice = "a server may be running already; otherwise choose another with --port"
        return Finding(subject="port", level="warn", found=f"{where}: {error.strerror}", advice=advice)
    return Finding(subject="port", level="ok", found=f"{where} is free")


def serving(running: Holder) -> Finding:
    """The port, where this project's own server has it."""
    return Finding(subject="port", level="ok", found=f"this project's server has it, pid {running.pid} {running.url}")


def _kept_in_step() -> bool | None:
    """Whether the kernel believes that its clock is synchronised; None where it does not say."""
    if sys.platform != "linux":
        return None
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else int(state) != _TIME_ERROR


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

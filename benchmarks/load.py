"""Load from `wrk`: a closed loop over kept-alive connections from one core."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process
from benchmarks.request import Request

MARK = "BENCH "
DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  local broken = e.connect + e.read + e.write + e.timeout
  local form = 'BENCH {"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\\n'
  io.write(string.format(form, summary.requests, summary.duration, e.status, broken,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What `wrk` saw in one run."""

    requests: int
    seconds: float
    refused: int
    """Answers other than 2xx and 3xx."""
    broken: int
    """Connections that failed, reads, writes and time-outs."""
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds


class LoadFailed(Exception):
    """`wrk` is missing or gave no figures."""


TURNS = """
local n = 0
function init()
  for i, body in ipairs(bodies) do bodies[i] = wrk.format(nil, nil, nil, body) end
end
function request()
  n = n % #bodies + 1
  return bodies[n]
end
"""


def lua(request: Request, body_files: Sequence[Path]) -> str:
    """The script that makes `wrk` send `request`; bodies are read from files, since they may be any bytes, and take
    turns if there are several."""
    lines = [f'wrk.method = "{request.method}"', "local bodies = {}"]
    lines += [f"wrk.headers[{_quoted(name)}] = {_quoted(value)}" for name, value in request.headers]
    for file in body_files:
        lines += [f'local f = io.open({_quoted(str(file))}, "rb")', 'bodies[#bodies + 1] = f:read("*a")', "f:close()"]
    lines += ["wrk.body = bodies[1]", TURNS if len(body_files) > 1 else ""]
    return "\n".join(lines) + "\n" + DONE


def _quoted(text: str) -> str:
    if re.search(r"[\x00-\x1f]", text):
        raise ValueError(f"a control character in {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse(output: str) -> Load:
    """The figures in what `wrk` printed."""
    line = next((line for line in output.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise LoadFailed(f"wrk gave no figures: {output.strip()[-300:]}")
    said = json.loads(line.removeprefix(MARK))
    return Load(
        requests=said["requests"],
        seconds=said["duration_us"] / 1e6,
        refused=said["refused"],
        broken=said["broken"],
        p50_ms=said["p50_us"] / 1e3,
        p99_ms=said["p99_us"] / 1e3,
    )


def run(port: int, request: Request, *more: Request, connections: int, seconds: float, scheme: str = "http") -> Load:
    """Load the server for some whole seconds and return what was seen; bodies of `more` take turns with the first."""
    with tempfile.TemporaryDirectory() as folder:
        script, bodies = Path(folder) / "request.lua", []
        for i, one in enumerate((request, *more)):
            bodies.append(Path(folder) / f"body{i}")
            bodies[-1].write_bytes(one.body)
        script.write_text(lua(request, bodies))
        address = f"{scheme}://127.0.0.1:{port}{request.path}"
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(script)]
        try:
            done = subprocess.run(
                process.pinned(process.CLIENT_CORE, ["wrk", *options, address]),
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise LoadFailed("wrk and taskset are needed: apt-get install wrk util-linux") from error
    return parse(done.stdout + done.stderr)

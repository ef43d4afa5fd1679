"""The results as a page of documentation and as the table in the README."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contestants import BY_HAND, FLOOR
from benchmarks.extras import LARGE_ROWS, MANY_MODELS, OPEN_CONNECTIONS, OPEN_RATE_PER_S
from benchmarks.lineup import API, INFER
from benchmarks.results import Results
from benchmarks.rounds import cpu_ratio, figures
from benchmarks.sections import parts
from benchmarks.stats import CORES, PRICE_PER_HOUR, dollars_per_million, spread
from benchmarks.targets import verdicts

ROOT = Path(__file__).resolve().parents[1]
PAGE, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
README_CONNECTIONS = 16
MODELS = {
    "iris": "`iris`: scaler and SVC with probabilities, 4 features, one row of JSON per request",
    "mlp": "`mlp`: dense 64-256-256-10, one row of JSON per request",
    "cnn": "`cnn`: MobileNet-like, 325 M multiply-adds, one 1x3x224x224 picture of bytes per request",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column to the left, figures to the right."""
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ruler, *rows))


def page(results: Results) -> str:
    """`docs/benchmarks.md`."""
    parts = ["# Benchmarks", _how(results), "## Targets", _targets(results)]
    for model in results.absent:
        parts += [f"## {MODELS[model]}", _model_table(results, model), _absent(results, model)]
    parts += [
        "## Open loop",
        _open_loop(results),
        "## Large requests",
        _large(results),
        "## Cost and memory",
        _cost(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how(results: Results) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    peers = ", ".join(f"{results.titles.get(n, n).replace('**', '')} {v}" for n, v in results.versions.items() if v)
    missing = "".join(f"\n\n{name} is missing: {reason}" for name, reason in results.not_installed.items())
    return (
        f"Written by `make bench` on {results.taken}. Machine: {facts}. Servers: {peers}.\n\n"
        "All servers read the same ONNX files with one ONNX Runtime thread. Servers run on core 0, `wrk` on core 1; "
        "connections are kept alive. Kaname runs as installed: authentication, a rate limit, the prediction record "
        "and metrics are on. Rounds are interleaved (A B C … A B C …), each run after a second that is not counted; "
        "figures are medians, with the range where rounds differ. CPU is user and system time of the whole process "
        "tree per request. Machines differ by a factor of two and so do hours: compare ratios, not figures of "
        f"different runs. The echo floor and FastAPI by hand calibrate.{missing}"
    )


def _targets(results: Results) -> str:
    rows = [[v.what, v.must, v.aim, v.measured, v.word] for v in verdicts(results)]
    return table(["what", "must", "aim", "measured", ""], rows)


def _widths(results: Results, model: str) -> list[int]:
    return sorted({sample.connections for sample in results.samples if sample.model == model})


def _model_table(results: Results, model: str) -> str:
    head = [
        "server",
        "connections",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "CPU, × floor",
        "CPU, × Kaname",
        "failed",
    ]
    ours = INFER if model == "cnn" else API
    rows = []
    for entry, title in results.titles.items():
        for width in _widths(results, model):
            found = figures(results.samples, model, entry, width)
            if found is None:
                continue
            floor, kaname = (cpu_ratio(results.samples, model, entry, to, width) for to in (FLOOR, ours))
            speed = [f"{found.per_s:,.0f}", f"{found.p50_ms:.2f}", f"{found.p99_ms:.2f}", f"{found.cpu_us:,.1f}"]
            times = [f"{ratio:.2f}" if ratio else "" for ratio in (floor, kaname)]
            rows.append([title, str(width), *speed, *times, str(found.failed)])
    call = results.raw_call_us(model, 1)
    if call is not None:
        rows.append(["`session.run` alone, one row", "", f"{1e6 / call:,.0f}", "", "", f"{call:,.1f}", "", "", ""])
    return table(head, rows)


def _absent(results: Results, model: str) -> str:
    reasons = results.absent.get(model, {})
    return "\n".join(
        f"- {results.titles.get(name, name)}: {reason.splitlines()[0]}" for name, reason in reasons.items()
    )


def _open_loop(results: Results) -> str:
    head = ["server", "model", "p50 ms", "p99 ms", "p99.9 ms", "largest ms", "unanswered", "refused"]
    rows = []
    for entry, model in dict.fromkeys((str(run["entry"]), str(run["model"])) for run in results.open_loop):
        runs = [run for run in results.open_loop if (run["entry"], run["model"]) == (entry, model)]
        times = [spread([float(run[key]) for run in runs]) for key in ("p50_ms", "p99_ms", "p99.9_ms", "max_ms")]
        counts = [f"{sum(float(run[key]) for run in runs):.0f}" for key in ("unanswered", "refused")]
        rows.append([results.titles[entry], model, *(f"{time:.2f}" for time in times), *counts])
    sent = f"{OPEN_RATE_PER_S:,} requests a second on {OPEN_CONNECTIONS} connections, sent whether or not answers come"
    return f"{sent}; latency counts from the intended moment.\n\n{table(head, rows)}" if rows else ""


def _large(results: Results) -> str:
    rows = []
    for model, measured in results.large_rows_per_s.items():
        call = results.raw_call_us(model, LARGE_ROWS)
        if call is not None:
            limit = LARGE_ROWS / call * 1e6
            found = spread(measured)
            rows.append([model, f"{found:,.0f}", f"{limit:,.0f}", f"{found.median / limit:.0%}"])
    what = f"One binary Open Inference Protocol request of {LARGE_ROWS:,} rows after another on one connection.\n\n"
    return what + table(["model", "rows/s", "`session.run` alone, rows/s", "share"], rows) if rows else ""


def _cost(results: Results) -> str:
    lines = []
    if results.memory_mb is not None:
        lines.append(f"A worker with {MANY_MODELS} small models holds {results.memory_mb:.0f} MiB.")
    for entry in (API, BY_HAND):
        found = figures(results.samples, "iris", entry, README_CONNECTIONS)
        if found is not None:
            cost = dollars_per_million(found.cpu_us.median)
            lines.append(f"{results.titles[entry].replace('**', '')}: ${cost:.5f} per million predictions of `iris`.")
    if len(lines) > (results.memory_mb is not None):
        lines.append(
            f"Computed from CPU per request at {README_CONNECTIONS} connections: {CORES} vCPU (m5.xlarge) at "
            f"${PRICE_PER_HOUR} an hour, all of them busy."
        )
    return "\n\n".join(lines)


def summary(results: Results) -> str:
    """The README's table: small models, 16 connections."""
    head = ["server", "requests/s", "p99 ms", "CPU µs per request", "CPU, × Kaname"]
    rows = []
    for entry, title in results.titles.items():
        found = figures(results.samples, "iris", entry, README_CONNECTIONS)
        ratio = cpu_ratio(results.samples, "iris", entry, API, README_CONNECTIONS)
        if found is not None:
            times = f"{ratio.median:.1f}" if ratio else ""
            rows.append(
                [
                    title,
                    f"{found.per_s.median:,.0f}",
                    f"{found.p99_ms.median:.1f}",
                    f"{found.cpu_us.median:,.0f}",
                    times,
                ]
            )
    setup = f"scikit-learn SVC as ONNX, one row of JSON per request, {README_CONNECTIONS} connections, one core"
    again = "`make bench` measures again; [all figures](docs/benchmarks.md)."
    return f"{table(head, rows)}\n\n{setup} ({results.machine['CPU']}), {results.taken}. {again}"


def write(page_text: str, summary_text: str, page_path: Path = PAGE, readme: Path = README) -> None:
    """Write the page, where the parts of other programs stay, and the summary between the README's markers."""
    page_path.parent.mkdir(parents=True, exist_ok=True)
    others = parts(page_path.read_text()) if page_path.exists() else []
    page_path.write_text("\n".join([page_text, *(f"{part}\n" for part in others)]))
    text = readme.read_text()
    if BEGIN in text and END in text:
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        readme.write_text(f"{before}{BEGIN}\n{summary_text}\n{END}{after}")

"""Parts of `docs/benchmarks.md` that programs of their own write, each between its markers."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Write a part in its place, or at the end of a page that has none of that name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    part = f"{begin}\n{text.strip()}\n{end}"
    old = page.read_text()
    if begin in old and end in old:
        page.write_text(old.split(begin)[0] + part + old.split(end)[1])
    else:
        page.write_text(f"{old.rstrip()}\n\n{part}\n")


def parts(text: str) -> list[str]:
    """All parts of a page with their markers, for whoever writes the rest anew."""
    return [found.group() for found in re.finditer(r"<!-- (\S+):begin -->.*?<!-- \1:end -->", text, re.DOTALL)]

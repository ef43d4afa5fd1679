"""Parts of the benchmark page that programs of their own write."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import write
from benchmarks.sections import parts, put


def test_a_part_is_written_in_its_place(tmp_path: Path) -> None:
    """At the end at first, then where it is; the rest of the page stays, and so does it when the rest is written."""
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    page.write_text("# Figures\n\nold\n")
    readme.write_text("no markers\n")
    put("one", "## One\n\n1\n", page)
    put("two", "## Two\n\n2", page)
    put("one", "## One\n\n11", page)
    text = page.read_text()
    assert text.startswith("# Figures\n\nold\n\n<!-- one:begin -->\n## One\n\n11\n<!-- one:end -->")
    assert [part.splitlines()[1] for part in parts(text)] == ["## One", "## Two"]
    write("# Figures\n\nnew\n", "", page, readme)
    assert "old" not in page.read_text()
    assert parts(page.read_text()) == parts(text)

"""Blocks of whole rows, cut at the same places from wherever one starts."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaname.batch.lines import blocks

_CELL = st.text("ab,\n", max_size=12).map(lambda text: '"' + text.replace('"', '""') + '"') | st.text("ab", max_size=12)
_ROWS = st.lists(_CELL | st.just('"a ""quote"" \n"'), max_size=40)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_ROWS, size=st.integers(1, 64), ended=st.booleans())
def test_blocks_are_whole_rows_and_do_not_depend_on_where_one_starts(
    tmp_path: Path, rows: list[str], size: int, ended: bool
) -> None:
    """Together they are the file; each ends where a row ends; from the end of each follow the same others."""
    text = "\n".join(rows) + "\n" * ended
    path = tmp_path / "rows.csv"
    path.write_text(text)
    found = list(blocks(path, 0, quoted=True, block_bytes=size))
    assert b"".join(block.data or b"" for block in found).decode() == text
    ends, at = {len(text)}, 0
    for row in rows:
        at += len(row) + 1
        ends.add(at)
    assert all(block.after in ends for block in found)
    for number, block in enumerate(found):
        assert list(blocks(path, block.after, quoted=True, block_bytes=size)) == found[number + 1 :]


def test_a_row_beyond_the_limit_is_passed_over(tmp_path: Path) -> None:
    """The rows around it are whole; at the end of the file, too."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a\n" + b'"' + b"x\n" * 3000 + b'"\nb\n' + b"y" * 9000)
    found = [(block.data, block.after) for block in blocks(path, 0, quoted=True, block_bytes=16, longest=64)]
    assert found == [(b"a\n", 2), (None, 6005), (b"b\n", 6007), (None, 15007)]

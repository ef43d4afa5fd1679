"""Which of the runtimes that answer as the original does is chosen."""

from __future__ import annotations

import pytest

from kaname.models.importing.choose import _explain, _fastest
from kaname.models.types import RuntimeChoice
from kaname.runtimes.types import Profile


def choice(runtime: str, us: float | None) -> RuntimeChoice:
    profile = None if us is None else Profile(rows=(1,), us=(us,), best_rows=1, exact=True, splits=True)
    return RuntimeChoice(runtime=runtime, file="", profile=profile)


@pytest.mark.parametrize(
    ("torch", "onnx", "chosen", "says"),
    [
        (9.0, 10.0, "onnx", "not 2 times as fast"),
        (40.0, 10.0, "onnx", "slower"),
        (4.9, 10.0, "pytorch", "fastest"),
        (90.0, None, "pytorch", "only runtime that answers"),
    ],
)
def test_a_heavy_library_must_be_worth_its_memory(torch: float, onnx: float | None, chosen: str, says: str) -> None:
    """At least twice as fast, or the only one that answers as the original does."""
    choices = [choice("pytorch", torch), choice("onnx", onnx)]
    found = _fastest(choices)
    assert found is not None
    assert found.runtime == chosen
    explained = _explain(choices, found)
    assert [one.runtime for one in explained if one.chosen] == [chosen]
    assert says in explained[0].reason

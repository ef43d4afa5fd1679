"""The three-way comparison as a table: last applied, declared, actual; then steps and drift."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaname.errors import Conflict
from kaname.models.declared import Desired, DesiredVersion
from kaname.models.plan import Actual, ActualVersion, compare


def desired(*versions: str, promoted: str | None = None, config: dict[str, Any] | None = None) -> Desired:
    """Versions are written `name`, `name=content` or `name+tag`."""
    made = []
    for text in versions:
        name, *tags = text.split("+")
        name, _, content = name.partition("=")
        made.append(DesiredVersion(version=name, content=content or "c", tags=tuple(tags)))
    return Desired(name="m", versions=tuple(made), promoted=promoted, config=config or {})


def actual(
    *versions: str, promoted: str | None = None, loaded: bool = True, config: dict[str, Any] | None = None
) -> Actual:
    """Versions are written `name`, `name+tag`, and `~name` when archived."""
    made = {}
    for text in versions:
        name, *tags = text.lstrip("~").split("+")
        made[name] = ActualVersion(archived=text.startswith("~"), tags=tuple(tags))
    return Actual(loaded=loaded, promoted=promoted, config=config or {}, versions=made)


ONE = desired("1", promoted="1")
TWO = desired("1", "2", promoted="2")
FREE = desired("1")

CASES: dict[str, tuple[Desired | None, Desired | None, Actual | None, list[str], list[str]]] = {
    "a new model": (None, ONE, None, ["add m/1", "promote m/1"], []),
    "a new model whose answer is left to the API": (None, FREE, None, ["add m/1"], []),
    "nothing changed": (ONE, ONE, actual("1", promoted="1"), [], []),
    "a new version is declared and promoted": (
        ONE, TWO, actual("1", promoted="1"), ["add m/2", "promote m/2"], [],
    ),
    "a rollback by API stands": (
        TWO, TWO, actual("1", "2", promoted="1"), [], ["m: promoted is 1, declared 2"],
    ),
    "a rollback by API stands until the file changes its mind": (
        TWO, desired("1", "2", "3", promoted="3"), actual("1", "2", promoted="1"), ["add m/3", "promote m/3"], [],
    ),
    "the file catches up with the API": (TWO, desired("1", "2", promoted="1"), actual("1", "2", promoted="1"), [], []),
    "the file gives up saying what answers": (TWO, desired("1", "2"), actual("1", "2", promoted="1"), [], []),
    "a version is withdrawn": (
        TWO, desired("2", promoted="2"), actual("1", "2", promoted="2"), ["archive m/1"], [],
    ),
    "a version is withdrawn while it answers": (
        TWO, desired("2", promoted="2"), actual("1", "2", promoted="1"), [],
        ["m: promoted is 1, declared 2", "m: version 1 is answering, declared absent"],
    ),
    "the answering version is withdrawn for another": (
        ONE, desired("2", promoted="2"), actual("1", promoted="1"), ["add m/2", "promote m/2", "archive m/1"], [],
    ),
    "a withdrawn version is archived already": (
        TWO, desired("2", promoted="2"), actual("~1", "2", promoted="2"), [], [],
    ),
    "a version came by API": (
        ONE, ONE, actual("1", "9", promoted="1"), [], ["m: version 9 is present, declared absent"],
    ),
    "a version was deleted by API": (
        TWO, TWO, actual("2", promoted="2"), [], ["m: version 1 is deleted, declared present"],
    ),
    "a version was archived by API": (
        TWO, TWO, actual("~1", "2", promoted="2"), [], ["m: version 1 is archived, declared present"],
    ),
    "a deleted version is declared with new content": (
        TWO, desired("1=new", "2", promoted="2"), actual("2", promoted="2"), ["add m/1"], [],
    ),
    "the model was deleted by API": (ONE, ONE, None, [], ["m: model is deleted, declared present"]),
    "the model was unloaded by API": (
        ONE, ONE, actual("1", promoted="1", loaded=False), [], ["m: model is unloaded, declared loaded"],
    ),
    "a model that exists is declared for the first time": (
        None, ONE, actual("1", "2", promoted="2", loaded=False), ["add m/1", "load m", "promote m/1"],
        ["m: version 2 is present, declared absent"],
    ),
    "the declaration is gone": (ONE, None, actual("1", promoted="1"), ["unload m"], []),
    "the declaration and the model are gone": (ONE, None, None, [], []),
    "never declared": (None, None, actual("1", promoted="1"), [], []),
    "settings are declared, changed and withdrawn": (
        desired("1", config={"a": 1, "b": 1, "c": 1}),
        desired("1", config={"a": 2, "b": 1, "d": 1}),
        actual("1", promoted="1", config={"a": 1, "b": 1, "c": 1}),
        ["configure m a=2 d=1 -c"], [],
    ),
    "settings changed by API stand": (
        desired("1", config={"a": 1, "b": 1}), desired("1", config={"a": 1, "b": 1}),
        actual("1", promoted="1", config={"a": 5, "z": 0}), [],
        ["m: a is 5, declared 1", "m: b is the default, declared 1", "m: z is 0, declared the default"],
    ),
    "tags are declared, withdrawn, and set by API": (
        desired("1+old+kept"), desired("1+new+kept"), actual("1+old+kept+theirs", promoted="1"),
        ["tag m/1 +new -old"], ['m: tags of version 1 is ["kept","new","theirs"], declared ["kept","new"]'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_only_what_the_file_changed_becomes_a_step(case: str) -> None:
    """Each row: what is done, and what is only reported."""
    applied, declared, is_, steps, drift = CASES[case]
    plan = compare("m", applied, declared, is_)
    assert ([str(step) for step in plan.steps], [str(each) for each in plan.drift]) == (steps, drift)


def test_changed_content_under_an_applied_version_is_refused() -> None:
    """A version never changes: the author must name a new one."""
    with pytest.raises(Conflict, match=r"m/1: .*versions never change"):
        compare("m", ONE, desired("1=other", promoted="1"), actual("1", promoted="1"))


VERSION_SETS = st.sets(st.sampled_from("123"), min_size=1)


@st.composite
def desires(draw: st.DrawFn) -> Desired:
    names = sorted(draw(VERSION_SETS))
    promoted = draw(st.none() | st.sampled_from(names))
    return desired(*names, promoted=promoted, config=draw(st.dictionaries(st.sampled_from("ab"), st.integers(0, 1))))


@st.composite
def actuals(draw: st.DrawFn) -> Actual:
    names = sorted(draw(VERSION_SETS))
    config = draw(st.dictionaries(st.sampled_from("abz"), st.integers(0, 1)))
    return actual(*names, promoted=draw(st.sampled_from(names)), loaded=draw(st.booleans()), config=config)


@given(desires(), st.none() | actuals())
def test_an_unchanged_declaration_never_changes_anything(declared: Desired, is_: Actual | None) -> None:
    """Whatever others did since: when the file did not change there is no step. So applying is idempotent."""
    assert compare("m", declared, declared, is_).steps == ()


@given(st.none() | desires(), desires(), st.none() | actuals())
def test_an_answering_version_is_never_archived(applied: Desired | None, declared: Desired, is_: Actual | None) -> None:
    """For any three states: what will answer after the steps is not put away by them, nor twice mentioned."""
    plan = compare("m", applied, declared, is_)
    promoted = [step.version for step in plan.steps if step.action == "promote"]
    answering = promoted[-1] if promoted else (is_.promoted if is_ else None)
    assert answering not in [step.version for step in plan.steps if step.action == "archive"]
    assert len(set(map(str, plan.steps))) == len(plan.steps)

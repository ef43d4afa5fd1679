"""The registry against a model of itself in memory, under any order of changes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kaname.errors import Conflict, NotFound
from tests.models.world import World

NAMES = st.sampled_from(["a", "b"])
VERSIONS = st.sampled_from(["1", "2", "3", "x"])
FACTORS = st.sampled_from([1.0, 2.0])
TAGS = st.sampled_from(["gold", "blue"])


class Remembered:
    """One model as a person would keep it on paper."""

    def __init__(self) -> None:
        self.factors: dict[str, float] = {}
        self.status: dict[str, str] = {}
        self.tags: dict[str, set[str]] = {}
        self.history: list[str] = []
        self.loaded = True
        self.next = 1

    def push(self, version: str) -> None:
        self.status[version] = "deployed"
        if self.history[-1:] != [version]:
            self.history.append(version)

    def forget(self, version: str) -> None:
        left = [each for each in self.history if each != version]
        self.history = [each for i, each in enumerate(left) if left[i + 1 : i + 2] != [each]]

    def drop(self, version: str) -> None:
        self.forget(version)
        for kept in (self.factors, self.status, self.tags):
            del kept[version]


class Registry(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name))
        self.paper: dict[str, Remembered] = {}

    def teardown(self) -> None:
        self.world.close()
        self.folder.cleanup()

    def known(self, name: str, version: str) -> Remembered | None:
        paper = self.paper.get(name)
        return paper if paper is not None and version in paper.factors else None

    @rule(name=NAMES, version=st.none() | VERSIONS, factor=FACTORS, promote=st.sampled_from([None, True, False]))
    def add(self, name: str, version: str | None, factor: float, promote: bool | None) -> None:
        paper = self.paper.get(name, Remembered())
        if version is None:
            number = paper.next
            while str(number) in paper.factors:
                number += 1
            wanted = str(number)
        else:
            wanted = version
        if paper.factors.get(wanted, factor) != factor:
            with pytest.raises(Conflict):
                self.world.add(name, factor, version, promote)
            return
        assert self.world.add(name, factor, version, promote).version == wanted
        if wanted not in paper.factors:
            paper.factors[wanted], paper.status[wanted], paper.tags[wanted] = factor, "training", set()
            if wanted.isdecimal():
                paper.next = max(paper.next, int(wanted) + 1)
        if promote or (promote is None and not paper.history and paper.status[wanted] != "archived"):
            paper.push(wanted)
        self.paper[name] = paper

    @rule(name=NAMES, version=VERSIONS)
    def promote(self, name: str, version: str) -> None:
        paper = self.known(name, version)
        if paper is None:
            with pytest.raises(NotFound):
                self.world.models.promote(name, version, who="m")
            return
        paper.push(version)
        assert self.world.models.promote(name, version, who="m").promoted == version

    @rule(name=NAMES)
    def rollback(self, name: str) -> None:
        paper = self.paper.get(name)
        if paper is None or len(paper.history) < 2:
            with pytest.raises((NotFound, Conflict)):
                self.world.models.rollback(name, who="m")
            return
        paper.history.pop()
        self.world.models.rollback(name, who="m")

    @rule(name=NAMES, version=VERSIONS, delete=st.booleans())
    def put_away(self, name: str, version: str, delete: bool) -> None:
        change = self.world.models.delete if delete else self.world.models.archive
        paper = self.known(name, version)
        if paper is None or paper.history[-1:] == [version]:
            with pytest.raises(NotFound if paper is None else Conflict):
                change(name, version, who="m")
            return
        change(name, version, who="m")
        if delete:
            paper.drop(version)
        else:
            paper.forget(version)
            paper.status[version] = "archived"

    @rule(name=NAMES, loaded=st.booleans())
    def set_loaded(self, name: str, loaded: bool) -> None:
        if name in self.paper:
            self.paper[name].loaded = loaded
            assert self.world.models.set_loaded(name, loaded, who="m").loaded is loaded

    @rule(name=NAMES)
    def delete_model(self, name: str) -> None:
        paper = self.paper.get(name)
        if paper is None or (paper.history and paper.loaded):
            with pytest.raises(NotFound if paper is None else Conflict):
                self.world.models.delete(name, who="m")
            return
        self.world.models.delete(name, who="m")
        del self.paper[name]

    @rule(name=NAMES, version=VERSIONS, tag=TAGS, remove=st.booleans())
    def tag(self, name: str, version: str, tag: str, remove: bool) -> None:
        paper = self.known(name, version)
        if paper is not None:
            (paper.tags[version].discard if remove else paper.tags[version].add)(tag)
            self.world.models.tag(name, version, **{"remove" if remove else "add": [tag]}, who="m")

    @precondition(lambda self: self.paper)
    @rule()
    def reopen(self) -> None:
        self.world.close()
        self.world = World(Path(self.folder.name))

    @invariant()
    def the_registry_says_what_the_paper_says(self) -> None:
        seq, rows = self.world.models.snapshot_rows()
        assert seq == self.world.models.seq() == len(self.world.actions())
        assert [model.name for model, _ in rows] == sorted(self.paper)
        for model, running in rows:
            paper = self.paper[model.name]
            promoted, previous = (*reversed(paper.history), None, None)[:2]
            assert (model.promoted, model.previous, model.loaded) == (promoted, previous, paper.loaded)
            found = self.world.models.versions(model.name)
            assert {each.version: each.status for each in found} == paper.status
            assert {each.version: set(each.tags) for each in found} == paper.tags
            assert running == [each for each in found if each.status != "archived"]
            assert promoted is None or promoted in [each.version for each in running]


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRegistry = pytest.mark.slow(TestRegistry)

"""Making the declarations so: `plan` says what would change, `apply` changes it and remembers what was applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sqlalchemy import delete, insert, select

from kaname.clock import Clock
from kaname.errors import Conflict
from kaname.models import store
from kaname.models.declared import Declaration, Desired, Locate, Read, load
from kaname.models.plan import Plan, Step, compare
from kaname.models.registry import Models
from kaname.models.steps import actual, make
from kaname.storage.sql.database import Database

Doing = Callable[[str], AbstractContextManager[object]]
"""Tells a person what goes on while the context lasts."""


class Declarations:
    """The declared models of one project folder against one registry."""

    def __init__(
        self, models: Models, database: Database, clock: Clock, project: Path, read: Read, locate: Locate
    ) -> None:
        """`read` and `locate` know YAML and its lines; see `declared`."""
        self._models = models
        self._database = database
        self._clock = clock
        self._project = project
        self._read = read
        self._locate = locate

    def load(self) -> list[Declaration]:
        """The project's declarations, checked. Raises InvalidInput with file, line and column."""
        return load(self._project, self._read, self._locate)

    def plan(self, declarations: Sequence[Declaration] | None = None) -> Plan:
        """What applying would change, and what others changed. Raises InvalidInput and Conflict for a bad file."""
        found = {each.model.name: each for each in (self.load() if declarations is None else declarations)}
        applied = self._applied()
        plans = []
        for name in sorted({*found, *applied}):
            declaration = found.get(name)
            try:
                desired = declaration.desired if declaration else None
                plans.append(compare(name, applied.get(name), desired, actual(self._database, name)))
            except Conflict as error:
                raise self._placed(error, declaration) from error
        return Plan(
            steps=tuple(step for plan in plans for step in plan.steps),
            drift=tuple(drift for plan in plans for drift in plan.drift),
        )

    def apply(self, *, who: str, doing: Doing = nullcontext) -> tuple[Plan, tuple[str, ...]]:
        """Plan, then make it so; returns the plan and the notes of the imports.

        Versions are imported first, of all models, and answer nothing yet: an import that fails has changed no
        answer. What was applied is remembered model by model, so that after a failure the next call goes on.
        `doing` is entered for each import, which takes seconds.
        """
        declarations = {each.model.name: each for each in self.load()}
        plan = self.plan(list(declarations.values()))
        notes: list[str] = []
        for step in plan.steps:
            if step.action == "add":
                with doing(f"importing {step.model}/{step.version}: converting, comparing, measuring"):
                    notes += self._add(step, declarations[step.model], who)
        applied = self._applied()
        for name in sorted({*declarations, *applied}):
            for step in plan.steps:
                if step.model == name and step.action != "add":
                    make(self._models, step, who)
            desired = declarations[name].desired if name in declarations else None
            if desired != applied.get(name):
                self._remember(name, desired)
        return plan, tuple(notes)

    def _add(self, step: Step, declaration: Declaration, who: str) -> list[str]:
        declared = next(each for each in declaration.model.versions if each.version == step.version)
        info, notes = self._models.add(
            step.model,
            self._project / declared.path,
            who=who,
            sample=None if declared.sample is None else self._project / declared.sample,
            metrics=declared.metrics,
            version=declared.version,
            tags=declared.tags,
            trust_pickle=declared.trust_pickle,
            tolerance=declared.tolerance,
            max_share=declared.max_share,
            promote=False if declaration.model.promoted else None,
        )
        if missing := set(declared.tags) - set(info.tags):
            self._models.tag(step.model, declared.version, add=sorted(missing), who=who)
        return [f"{step.model}/{declared.version}: {note}" for note in notes]

    def _applied(self) -> dict[str, Desired]:
        with self._database.read() as conn:
            rows = conn.execute(select(store.declarations)).all()
        return {row.name: store.decode(row.applied, Desired) for row in rows}

    def _remember(self, name: str, desired: Desired | None) -> None:
        table = store.declarations
        with self._database.write() as conn:
            conn.execute(delete(table).where(table.c.name == name))
            if desired is not None:
                now_us = self._clock.time_ns() // 1000
                conn.execute(insert(table).values(name=name, applied=store.encode(desired), at_us=now_us))

    def _placed(self, error: Conflict, declaration: Declaration | None) -> Conflict:
        if declaration is None:
            return error
        place = self._locate(declaration.file, ("versions",))
        return Conflict(f"{error.where}: {error.message}", where=place, found=error.found, expected=error.expected)

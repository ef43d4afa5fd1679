"""A layout takes the place of others while rows are written and read; every step can be cut short and gone on with.

1. `fill`: every write of every process goes to the new layout as well. Only when all of them do, the old rows are
   copied, and compared.
2. `switch`: the new layout is read. The old ones are still written, for those who read them a moment longer.
3. `drop`: the old ones are not written any more, and their tables go.

Which step it is stands in the record of the relation, which every process follows (`opened`): a write is confirmed only
to somebody whose layouts were those of the record. What the copying does stands in `progress`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from random import Random

import msgspec

from kaname.clock import Clock
from kaname.errors import Conflict, InvalidInput
from kaname.features.facts import LayoutFacts
from kaname.features.mirroring import Mirror
from kaname.features.opened import Features
from kaname.features.records import KeptLayout, Record, Relayout, Role
from kaname.features.relayout.choosing import check_idle
from kaname.features.relayout.copying import copy
from kaname.features.relayout.progress import Kept
from kaname.features.relayout.types import How, Progress, Shown
from kaname.features.relayout.verifying import Sides

Show = Callable[[Shown], None]


class Relayouts:
    """Changes of layouts of a project's relations. One process does one of a relation at a time."""

    def __init__(
        self,
        features: Features,
        clock: Clock,
        owner: str,
        alone: Callable[[str], AbstractContextManager[None]],
        random: Random,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`owner`: `node:process`. `alone`: raises Conflict while another process of the node is inside."""
        self.features = features
        self._clock = clock
        self._owner = owner
        self._alone = alone
        self._random = random
        self._pause = pause

    def begin(self, relation: str, target: LayoutFacts, drops: Sequence[LayoutFacts]) -> None:
        """Have `target` take the place of `drops`, all in use; `run` does it. Raises Conflict and InvalidInput."""
        with self._alone(relation):
            record = self.features.record(relation)
            check_idle(record)
            self._check(record, target, drops)
            self.features.store(target.store)
            first = not drops or all(kept.facts in drops for kept in record.layouts[:1])
            added = KeptLayout(target, "filling")
            layouts = (added, *record.layouts) if first and drops else (*record.layouts, added)
            self._publish(record, Relayout(target, tuple(drops)), layouts, f"schema {target.name} is filled")

    def run(self, relation: str, how: How, show: Show) -> bool:
        """Do what is left of the change that is under way; returns whether there was one.

        Raises what a store raises, InvalidInput for a row that the new layout cannot hold, CorruptData for rows that
        differ: then it stands where it is, to be run again or aborted.
        """
        with self._alone(relation):
            record = self.features.record(relation)
            if record.relayout is None:
                return False
            if (
                self._kept(record).load() is not None or record.relayout.step != "fill"
            ):  # perhaps not written everywhere
                record = self._publish(record, record.relayout, record.layouts, "the change of layouts goes on")
            while record.relayout is not None:
                record = self._step(record, how, show)
            return True

    def abort(self, relation: str, show: Show) -> None:
        """Undo it: the old layouts stay, the new one goes. Raises Conflict for nothing to undo, or too late."""
        with self._alone(relation):
            record = self.features.record(relation)
            change = record.relayout
            if change is None or change.step == "drop":
                message = "nothing to abort" if change is None else "too late: old tables are being removed"
                raise Conflict(message, where=relation, expected="a change that is under way, before its last step")
            layouts = tuple(
                msgspec.structs.replace(kept, role="kept") for kept in record.layouts if kept.facts != change.target
            )
            undone = Relayout(change.target, change.drops, "abort")
            self._publish(record, undone, layouts, f"schema {change.target.name} is given up")
        self.run(relation, How(), show)

    def status(self, relation: str) -> tuple[Relayout, Progress | None] | None:
        """What is under way, and how far; None: nothing."""
        record = self.features.record(relation)
        return None if record.relayout is None else (record.relayout, self._kept(record).load())

    # --- steps ------------------------------------------------------------------------------------------

    def _step(self, record: Record, how: How, show: Show) -> Record:
        change = record.relayout
        assert change is not None
        self._settle(record, show)
        if change.step == "fill":
            self._fill(record, change, how, show)
            roles: dict[bool, Role] = {True: "leaving", False: "kept"}
            layouts = tuple(msgspec.structs.replace(k, role=roles[k.facts in change.drops]) for k in record.layouts)
            return self._publish(record, change, layouts, f"schema {change.target.name} is read", step="switch")
        if change.step == "switch":
            layouts = tuple(kept for kept in record.layouts if kept.role == "kept")
            what = f"schema {change.target.name} is alone" if change.drops else f"schema {change.target.name} is there"
            return self._publish(record, change, layouts, what, step="drop")
        self._kept(record).forget()
        for facts in change.drops if change.step == "drop" else (change.target,):
            self.features.store(facts.store).drop(facts.table)
        return self._publish(record, None, record.layouts, "the change of layouts is over")

    def _fill(self, record: Record, change: Relayout, how: How, show: Show) -> None:
        sides, name = self._sides(record, change), record.relation.name
        kept = self._kept(record)
        progress = kept.begin(self._owner)

        def told(progress: Progress, share: float | None) -> None:
            show(Shown(name, "copying", share, progress.rows))

        if progress.stage == "copy":
            progress = copy(sides.source, sides.mirror, kept, progress, how, told)
        show(Shown(name, "comparing", 0.0, progress.rows))
        if not how.full:
            checked = sides.sample(how.sample, self._random)
            kept.save(msgspec.structs.replace(progress, checked=checked))
            show(Shown(name, "comparing", 1.0, progress.rows, checked))
            return
        checked = mended = 0
        for keys in sides.pages():
            different = sides.differing(keys)
            mended += sides.mirror.make_equal(different) if different else 0
            checked += len(keys)
            show(
                Shown(name, "comparing", min(1.0, checked / max(1, 2 * progress.rows)), progress.rows, checked, mended)
            )
        kept.save(msgspec.structs.replace(progress, checked=checked, mended=mended))

    def _settle(self, record: Record, show: Show) -> None:
        """Wait until every process uses the record."""
        show(Shown(record.relation.name, "waiting until every process knows"))
        self._pause(self.features.settle_s(record))

    def _publish(
        self,
        record: Record,
        change: Relayout | None,
        layouts: tuple[KeptLayout, ...],
        what: str,
        **changes: object,
    ) -> Record:
        if change is not None:
            change = msgspec.structs.replace(change, **changes)
        after = msgspec.structs.replace(record, version=record.version + 1, layouts=layouts, relayout=change)
        self.features.publish(after, what)
        return after

    # --- parts ------------------------------------------------------------------------------------------

    def _kept(self, record: Record) -> Kept:
        return Kept(self.features.store(record.home), record.relation.name, self._clock)

    def _sides(self, record: Record, change: Relayout) -> Sides:
        written = {layout.place: layout for layout in self.features.relation(record.relation.name).placement.written}
        source, target = written[self._source(record, change.target).place], written[change.target.place]
        source_store, target_store = self.features.store(source.store), self.features.store(target.store)
        return Sides(Mirror(source, source_store, target, target_store), source_store, target_store)

    def _source(self, record: Record, target: LayoutFacts) -> LayoutFacts:
        """A layout with everything that the new one is to hold."""
        for kept in record.layouts:
            if kept.role == "kept" and kept.facts.attributes >= target.attributes:
                return kept.facts
        raise InvalidInput(
            "no schema alone holds all that the new one does",
            where=target.name,
            found=", ".join(sorted(target.attributes)),
            expected="attributes of one schema in use",
        )

    def _check(self, record: Record, target: LayoutFacts, drops: Sequence[LayoutFacts]) -> None:
        self._source(record, target)
        stay = [kept.facts for kept in record.layouts if kept.facts not in drops]
        if any(each.place == target.place for each in (*stay, *drops)):
            raise Conflict("the table is in use", where=target.name, found=target.table, expected="a table of its own")
        if self.features.there.owner(target) is not None or self.features.there.has_rows(target):
            expected = "another name; what is there is left alone"
            raise Conflict("there are rows in this table", where=target.name, found=target.table, expected=expected)
        held = set[str]().union(*(facts.attributes for facts in (*stay, target)))
        for attribute in record.relation.attributes:
            if not attribute.key and attribute.name not in held:
                message = "an attribute that no schema would hold any more"
                raise InvalidInput(message, where=target.name, found=attribute.name, expected="it in the new one")

"""Which layout takes the place of which: as the files of the project say, or a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaname.errors import Conflict, InvalidInput, NotFound
from kaname.features.facts import LayoutFacts, facts_of, relation_text
from kaname.features.opened import Features
from kaname.features.records import Record
from kaname.features.schemas import layouts_in

Choice = tuple[LayoutFacts, list[LayoutFacts]]
"""The new one, and those whose place it takes."""


def choose(features: Features, relation: str, add: str | None, replace: Sequence[str]) -> Choice:
    """What is to be done with a relation.

    `add`: the name of a schema in the files, or a file with one; None: the only one that is in the files and not in
    use. `replace`: names of those in use that go; with none: those that the files do not declare any more, or, with a
    file, the one of the same name. Raises NotFound and InvalidInput.
    """
    record = features.record(relation)
    check_idle(record)
    if add is not None and _is_file(add):
        target = _in_file(record, Path(add))
        gone = [kept.facts for kept in record.layouts if kept.facts.name == target.name]
    else:
        target, gone = _declared(features, record, add)
    return target, [_in_use(record, name) for name in replace] or gone


def check_idle(record: Record) -> None:
    """Raise Conflict while layouts of the relation change."""
    if record.relayout is not None:
        raise Conflict(
            "a change of layouts is under way", where=record.relation.name, expected="its end, or its --abort"
        )


def _is_file(add: str) -> bool:
    return add.endswith(".schema") or "/" in add


def _declared(features: Features, record: Record, add: str | None) -> Choice:
    wanted = [each.facts for each in features.wanted(record.relation.name).layouts]
    used = {kept.facts.place for kept in record.layouts}
    new = [facts for facts in wanted if facts.place not in used and add in (None, facts.name)]
    if len(new) != 1:
        names = ", ".join(facts.name for facts in new)
        raise InvalidInput(
            "several schemas are not in use yet" if new else "no such schema waits to be used",
            where=record.relation.name,
            found=names or add,
            expected="--add with the name of one" if new else "one in features/*.schema with a table of its own",
        )
    _check_known(record, new[0])
    places = {facts.place for facts in wanted}
    return new[0], [kept.facts for kept in record.layouts if kept.facts.place not in places]


def _in_file(record: Record, path: Path) -> LayoutFacts:
    name = record.relation.name
    schemas = layouts_in(path.read_text(), relation_text(record.relation), str(path))
    layouts, declared = schemas.layouts[name], schemas.declared_layouts[name]
    if len(layouts) != 1:
        found = f"{len(layouts)} of them"
        raise InvalidInput(f"not a file with one schema for {name}", where=str(path), found=found, expected="one")
    return facts_of(declared[0], record.relation, layouts[0].store)


def _check_known(record: Record, target: LayoutFacts) -> None:
    new = sorted(target.attributes - set(record.relation.names))
    if new:
        expected = "them behind those of a schema in use first (`kaname apply`), or only this change"
        raise InvalidInput("attributes without rows", where=target.name, found=", ".join(new), expected=expected)


def _in_use(record: Record, name: str) -> LayoutFacts:
    for kept in record.layouts:
        if kept.facts.name == name:
            return kept.facts
    names = ", ".join(kept.facts.name for kept in record.layouts)
    raise NotFound("no such schema in use", where=record.relation.name, found=name, expected=names)

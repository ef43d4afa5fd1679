"""Whether stored rows mean under changed schema files what they meant before: the table in docs/relayout.md as code.

Accepted is what leaves every stored byte its meaning, with new attributes null in old rows; all else is refused, with
the place in the file, what is stored, and the safe way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from kaname.errors import Conflict
from kaname.features.facts import GroupFacts, LayoutFacts
from kaname.features.records import KeptLayout, Record
from kaname.features.types import Attribute, Relation, Type
from kaname.features.wanted import Wanted, WantedLayout


class Stored(Protocol):
    """What is in the stores."""

    def has_rows(self, facts: LayoutFacts) -> bool:
        """Whether there is something in the table of a layout."""

    def owner(self, facts: LayoutFacts) -> str | None:
        """The relation whose rows are recorded to be there."""


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of the record of one relation."""

    record: Record | None
    """The new one; None: nothing changes, or may not."""
    changes: tuple[str, ...] = ()
    """What changes, for people."""
    refused: tuple[Conflict, ...] = ()
    replaces: Record | None = None
    """The record of another relation of that name, which may be replaced because it has no rows: whoever publishes the
    new one looks again behind that whether there are any."""


def compare(before: Record | None, wanted: Wanted, stored: Stored) -> Verdict:
    """What becomes of `before`, the record of the relation that is `wanted`."""
    refused = [*_taken(wanted, stored)]
    name = wanted.relation.name
    if before is None:
        return (
            Verdict(None, (), tuple(refused))
            if refused
            else Verdict(_fresh(1, 0, wanted), (f"relation {name} is new",))
        )
    refused += [*_relation(before, wanted), *_layouts(before, wanted)]
    if before.relayout is not None:
        return Verdict(None, (), tuple(refused or _during(before, wanted)))
    if refused:
        if any(stored.has_rows(kept.facts) for kept in before.layouts) or any(_taken(wanted, stored)):
            return Verdict(None, (), tuple(refused))
        version = before.version + 1
        return Verdict(
            _fresh(version, version, wanted), (f"relation {name} is another one; it has no rows yet",), replaces=before
        )
    after = _after(before, wanted)
    if msgspec.structs.replace(after, version=before.version) == before:
        return Verdict(None)
    return Verdict(after, tuple(_changes(before, after)))


def check(verdicts: dict[str, Verdict]) -> None:
    """Raise the first change that would misread stored rows; it says how many more there are."""
    refused = [problem for verdict in verdicts.values() for problem in verdict.refused]
    if refused:
        first = refused[0]
        if len(refused) > 1:
            first.message += f" (and {len(refused) - 1} more: `kaname check` lists them)"
        raise first


def safe_way(relation: str) -> str:
    """How layouts change without misreading anything."""
    return f"`kaname features relayout {relation}`"


def _taken(wanted: Wanted, stored: Stored) -> Iterator[Conflict]:
    """Tables that hold rows of other relations."""
    for each in wanted.layouts:
        owner = stored.owner(each.facts)
        if owner not in (None, wanted.relation.name) and stored.has_rows(each.facts):
            message = "rows of another relation are stored in this table"
            yield Conflict(
                message, where=each.at("table"), found=f"`{each.facts.table}`", expected=f"that of `{owner}`"
            )


def _fresh(version: int, origin: int, wanted: Wanted) -> Record:
    layouts = tuple(KeptLayout(each.facts) for each in wanted.layouts)
    return Record(version, wanted.relation, layouts, layouts[0].facts.store, origin=origin)


def _after(before: Record, wanted: Wanted) -> Record:
    kept = {each.facts.place: each for each in before.layouts}
    types = {each.name: str(each.type) for each in before.relation.attributes}
    layouts = []
    for each in wanted.layouts:
        old = kept[each.facts.place]
        there = {cell: name for group in old.facts.groups for cell, name in _cells(group).items()}
        now = {cell: name for group in each.facts.groups for cell, name in _cells(group).items()}
        gone = {cell: types[name] for cell, name in there.items() if cell not in now}
        left = {cell: kind for cell, kind in {**old.left, **gone}.items() if cell not in now}
        later = tuple(name for cell, name in now.items() if name in old.later or cell not in there)
        layouts.append(KeptLayout(each.facts, left=left, later=later))
    return Record(before.version + 1, wanted.relation, tuple(layouts), before.home, origin=before.origin)


def _cells(group: GroupFacts) -> dict[str, str]:
    """Attributes by their own cells."""
    if group.kind != "cells":
        return {}
    return {
        f"{family}:{qualifier}": name for (family, qualifier), name in zip(group.cells(), group.attributes, strict=True)
    }


# --- the relation ---------------------------------------------------------------------------------------


def _relation(before: Record, wanted: Wanted) -> Iterator[Conflict]:
    old = {each.name: each for each in before.relation.attributes}
    new = {each.name: each for each in wanted.relation.attributes}
    for name, attribute in new.items():
        if name not in old:
            if attribute.key:
                yield _other_key("the stored rows have no such attribute in their key", wanted, name, before.relation)
        else:
            yield from _attribute(before.relation, old[name], attribute, wanted)
    for name, attribute in old.items():
        if attribute.key and name not in new:
            yield _other_key("an attribute of the key is gone", wanted, name, before.relation)


def _attribute(before: Relation, old: Attribute, new: Attribute, wanted: Wanted) -> Iterator[Conflict]:
    if old.key != new.key:
        said = "is in the key" if old.key else "is not in the key"
        yield _other_key(f"in the stored rows it {said}", wanted, new.name, before)
    if not _reads_alike(old.type, new.type):
        yield Conflict(
            "the stored values have another type",
            where=wanted.at(new.name),
            found=f"`{new.name} {new.type}`",
            expected=f"`{old.type}`, as stored; or an attribute of another name for the new values",
        )


def _other_key(message: str, wanted: Wanted, name: str, stored: Relation) -> Conflict:
    key = ", ".join(f"{each.name} {each.type}" for each in stored.key)
    expected = f"the key as stored ({key}); or a relation of another name, and its rows inserted"
    return Conflict(message, where=wanted.at(name), found=f"`{name}`", expected=expected)


def _reads_alike(old: Type, new: Type) -> bool:
    """The same bytes are the same values; a decimal may have more digits while they take no more bytes."""
    if old.name == new.name == "decimal":
        return old.scale == new.scale and old.precision <= new.precision and _width(old) == _width(new)
    return old == new


def _width(of: Type) -> int:
    return next(width for width, digits in ((4, 9), (8, 18), (16, 38)) if of.precision <= digits)


# --- layouts --------------------------------------------------------------------------------------------


def _layouts(before: Record, wanted: Wanted) -> Iterator[Conflict]:
    stored = {each.facts.place: each for each in before.layouts}
    for each in wanted.layouts:
        kept = stored.get(each.facts.place)
        if kept is not None:
            yield from _layout(before, kept, each, wanted.relation)
        elif before.relayout is None or each.facts not in (before.relayout.target, *before.relayout.drops):
            yield _unfilled(before, each)
    if not wanted.layouts:
        yield Conflict("no schema holds the stored rows any more", where=wanted.at(), expected="one of those before")


def _unfilled(before: Record, each: WantedLayout) -> Conflict:
    """A layout without the rows that are there already; or one that was moved."""
    name = before.relation.name
    old = next((kept.facts for kept in before.layouts if kept.facts.name == each.facts.name), None)
    if old is None:
        return Conflict("a new schema, where the stored rows are not yet", where=each.at(), expected=safe_way(name))
    kind = "store" if old.store != each.facts.store else "table"
    found = f"{each.facts.store} {each.facts.table}"
    stored = f"{old.store} {old.table}"
    return Conflict(
        "the stored rows are elsewhere",
        where=each.at(kind),
        found=f"`{found}`",
        expected=f"`{stored}`; or {safe_way(name)}, which takes the rows there",
    )


def _layout(before: Record, kept: KeptLayout, each: WantedLayout, relation: Relation) -> Iterator[Conflict]:
    old, new, name = kept.facts, each.facts, before.relation.name
    if old.row != new.row:
        yield _as_stored("the stored rows have another row key", each.at("row"), new.row, old.row, name)
    groups = {_cell_key(group): group for group in new.groups if group.kind != "cells"}
    for group in old.groups:
        if group.kind != "cells":
            yield from _shared_cell(before, group, groups.pop(_cell_key(group), None), each)
    for group in groups.values():
        yield from _new_values(before, group.attributes, each)
    yield from _own_cells(before, kept, each, relation)


def _cell_key(group: GroupFacts) -> tuple[str | None, str | None]:
    return group.family, group.qualifier


def _shared_cell(before: Record, old: GroupFacts, new: GroupFacts | None, each: WantedLayout) -> Iterator[Conflict]:
    """A cell that holds several attributes: a pack may grow at its end, by what is new."""
    name = before.relation.name
    stored = _value(old)
    if new is None:
        at = each.value_at(old.attributes[0] if old.attributes else "")
        yield _as_stored("a value that is stored is not read any more", at, None, str(old), name)
        return
    at = each.value_at(new.attributes[0] if new.attributes else "")
    if new.kind != old.kind or new.parts != old.parts:
        yield _as_stored("the stored value is written otherwise", at, _value(new), stored, name)
    elif new.attributes[: len(old.attributes)] != old.attributes:
        hint = f"{stored}, and new attributes behind these"
        yield _as_stored("the stored pack has other attributes, or another order", at, _value(new), hint, name)
    else:
        yield from _new_values(before, new.attributes[len(old.attributes) :], each)


def _value(group: GroupFacts) -> str:
    return f"pack[{', '.join(group.attributes)}]" if group.kind == "pack" else group.parts


def _new_values(before: Record, names: tuple[str, ...], each: WantedLayout) -> Iterator[Conflict]:
    """Only an attribute without any values yet may begin to be held somewhere."""
    for name in names:
        if name in before.relation.names:
            message = "the stored values of this attribute are not in this place"
            yield _as_stored(message, each.value_at(name), name, None, before.relation.name)


def _own_cells(before: Record, kept: KeptLayout, each: WantedLayout, relation: Relation) -> Iterator[Conflict]:
    """Attributes with cells of their own."""
    old = {name: cell for group in kept.facts.groups for cell, name in _cells(group).items()}
    types = {attribute.name: attribute.type for attribute in relation.attributes}
    for group in each.facts.groups:
        for cell, name in _cells(group).items():
            if name in old:
                if old[name] != cell:
                    message = "the stored values are in another cell"
                    yield _as_stored(message, each.value_at(name), cell, old[name], before.relation.name)
            elif name in before.relation.names:
                yield from _new_values(before, (name,), each)
            elif kept.left.get(cell, str(types[name])) != str(types[name]):
                yield Conflict(
                    "values of an attribute that was removed are still stored there",
                    where=each.value_at(name),
                    found=f"`{name} {types[name]}`",
                    expected=f"`{kept.left[cell]}`, as stored; or another name",
                )
    shared = {name for group in each.facts.groups if group.kind != "cells" for name in group.attributes}
    for name in old:
        if name in shared:
            yield from _new_values(before, (name,), each)


def _as_stored(message: str, at: str, found: str | None, stored: str | None, relation: str) -> Conflict:
    advice = f"a schema with a table of its own, and then {safe_way(relation)}"
    expected = advice if stored is None else f"`{stored}`, as stored; or {advice}"
    return Conflict(message, where=at, found=None if found is None else f"`{found}`", expected=expected)


def _during(before: Record, wanted: Wanted) -> Iterator[Conflict]:
    """While layouts change nothing else may."""
    assert before.relayout is not None
    facts = [kept.facts for kept in before.layouts]
    known = [*facts, before.relayout.target, *before.relayout.drops]
    if wanted.relation != before.relation or any(each.facts not in known for each in wanted.layouts):
        way = f"the end of {safe_way(before.relation.name)}, which is under way, or its --abort"
        yield Conflict("two changes at once", where=wanted.at(), expected=way)


# --- for people -----------------------------------------------------------------------------------------


def _changes(before: Record, after: Record) -> Iterator[str]:
    name = after.relation.name
    for attribute in after.relation.attributes:
        if attribute.name not in before.relation.names:
            yield f"relation {name}: attribute {attribute.name} {attribute.type} is new; null in old rows"
        elif attribute.type not in {each.type for each in before.relation.attributes if each.name == attribute.name}:
            yield f"relation {name}: attribute {attribute.name} has more digits"
    for gone in (each for each in before.relation.names if each not in after.relation.names):
        yield f"relation {name}: attribute {gone} is removed; its values stay stored"
    places = {kept.facts.place for kept in after.layouts}
    for kept in before.layouts:
        if kept.facts.place not in places:
            yield f"relation {name}: schema {kept.facts.name} is removed; its table {kept.facts.table} stays as it is"
    if before.relation.history != after.relation.history:
        yield f"relation {name}: {_of_history(before, after)}"
    elif {*before.relation.names} == {*after.relation.names} and len(before.layouts) == len(after.layouts):
        yield f"relation {name}: names, order or marks change, and no bytes"


def _of_history(before: Record, after: Record) -> str:
    if after.relation.history is None:
        return "has no history any more; training sets miss what is written from now on"
    if before.relation.history is None:
        return "has a history from now on; training sets miss what was written before"
    return "how long its history is kept changes"

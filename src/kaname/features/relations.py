"""Makes a relation of its declaration."""

from __future__ import annotations

from kaname.features.declared import DeclaredAttribute, DeclaredHistory, DeclaredRelation, DeclaredType, Word
from kaname.features.items import NOT_IN_KEYS, NUMBERS, SCALARS
from kaname.features.problems import MOST_LETTERS, Problems
from kaname.features.types import Attribute, History, Relation, Type, history_table

MOST_DIGITS = 38
MOST_NUMBERS = 65_536
MOST_DAYS = 36_500
_UNITS_S = {"minutes": 60, "hours": 3600, "days": 86_400}
_FORMS = {"decimal": "decimal(precision, scale)", "vector": "vector<type, length>"}


def relation_of(declared: DeclaredRelation, problems: Problems) -> Relation | None:
    """The relation, or None when there is something wrong with it."""
    before, name = len(problems), declared.name
    problems.check_name("relation", name)
    problems.check_twice("attribute", (attribute.name for attribute in declared.attributes))
    attributes = [_attribute(attribute, problems) for attribute in declared.attributes]
    if not any(attribute.key for attribute in declared.attributes):
        problems.add("a relation without a key", name.at, name, "`key` behind the type of an attribute")
    history = None if declared.history is None else _history(name, declared.history, problems)
    if len(problems) > before:
        return None
    return Relation(name.text, tuple(attribute for attribute in attributes if attribute is not None), history)


def _history(name: Word, declared: DeclaredHistory, problems: Problems) -> History:
    spare = len(history_table(name.text)) - MOST_LETTERS
    if spare > 0:
        expected = f"at most {len(name.text) - spare} letters, for a table of its history"
        problems.add("a relation with history has too long a name", name.at, name, expected)
    number, unit = declared.number, declared.unit
    if number is None or unit is None:
        return History()
    unit_s = _UNITS_S.get(unit.text if unit.text.endswith("s") else f"{unit}s")
    if unit_s is None:
        problems.add("not a unit of time", unit.at, unit, "minutes, hours or days")
        return History()
    count = _number("time to keep a history", number, 1, MOST_DAYS * 86_400 // unit_s, problems)
    return History(None if count is None else float(count * unit_s))


def _attribute(declared: DeclaredAttribute, problems: Problems) -> Attribute | None:
    problems.check_name("attribute", declared.name)
    kind = _type(declared.type, problems)
    if kind is None:
        return None
    if declared.key and kind.name in NOT_IN_KEYS:
        problems.add("values of this type have no order, so it is not for a key", declared.type.name.at, kind)
    if declared.planned is not None and kind.name != "timestamp":
        problems.add("only a timestamp may be planned", declared.planned.at, kind, "timestamp")
    return Attribute(declared.name.text, kind, declared.key, declared.planned is not None)


def _type(declared: DeclaredType, problems: Problems) -> Type | None:
    name = declared.name
    if not problems.check_known("type", name, (*SCALARS, *_FORMS)):
        return None
    if declared.form != (name.text if name.text in _FORMS else "simple"):
        expected = _FORMS.get(name.text, f"`{name}` alone")
        problems.add("not how this type is written", name.at, name, expected)
        return None
    if name.text == "decimal":
        return _decimal(declared, problems)
    return _vector(declared, problems) if name.text == "vector" else Type(name.text)


def _decimal(declared: DeclaredType, problems: Problems) -> Type | None:
    if len(declared.arguments) != 2:
        problems.add("a decimal has a precision and a scale", declared.name.at, None, _FORMS["decimal"])
        return None
    precision, scale = declared.arguments
    most = _number("precision", precision, 1, MOST_DIGITS, problems)
    if most is None:
        return None
    behind = _number("scale", scale, 0, most, problems)
    return None if behind is None else Type("decimal", precision=most, scale=behind)


def _vector(declared: DeclaredType, problems: Problems) -> Type | None:
    item, length = declared.arguments
    known = problems.check_known("type of a vector's numbers", item, NUMBERS)
    many = _number("length of a vector", length, 1, MOST_NUMBERS, problems)
    return Type("vector", item=item.text, length=many) if known and many is not None else None


def _number(what: str, said: Word, low: int, high: int, problems: Problems) -> int | None:
    number = int(said.text[:10])
    if low <= number <= high:
        return number
    problems.add(f"not a {what}", said.at, said, f"{low} to {high}")
    return None

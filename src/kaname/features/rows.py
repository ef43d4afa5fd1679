"""Checks the parts of row keys and values: two rows may never have the same bytes, and no key may be lost."""

from __future__ import annotations

from collections.abc import Mapping

from kaname.features.codecs import codec_of
from kaname.features.declared import Part, Parts, Word
from kaname.features.parts import has_width, is_bounded, keeps_order
from kaname.features.problems import Problems
from kaname.features.types import Attribute, Relation
from kaname.storage.cells.types import MAX_ROW_BYTES

MOST_HASH_BYTES = 32
_BOUND = "size{{{0}}}, suffix(…){{{0}}} or fixed(…){{{0}}}"


def check_row(row: Parts, relation: Relation, problems: Problems) -> None:
    """Note what is wrong with the parts of a row key."""
    attributes = {attribute.name: attribute for attribute in relation.attributes}
    for word in (word for part in row.parts for word in part.names):
        if not attributes[word.text].key:
            problems.add("a row key holds only attributes of the key", word.at, word, _names_of_key(relation))
            return
    check_parts(row, attributes, problems)
    written = {part.name for part in row.parts if part.kind != "hash"}
    for attribute in relation.key:
        if attribute.name not in written:
            problems.add(
                "the row key loses an attribute of the key: two rows could share it",
                row.at,
                None,
                f"`{attribute.name}`",
            )


def check_value(value: Parts, relation: Relation, problems: Problems) -> None:
    """Note what is wrong with the parts of a value."""
    attributes = {attribute.name: attribute for attribute in relation.attributes}
    for part in value.parts:
        if part.kind == "hash" or part.desc:
            problems.add("this has a meaning in a row key only", part.at, "hash" if part.kind == "hash" else "desc")
            return
    check_parts(value, attributes, problems)


def check_parts(parts: Parts, attributes: Mapping[str, Attribute], problems: Problems) -> None:
    """Note parts that cannot be, and those behind which nothing can be told apart any more."""
    _check_once([part.names[0] for part in parts.parts if part.kind != "hash"], problems)
    for part in parts.parts:
        _check_part(part, attributes, problems)
    for part in parts.parts[:-1]:
        if part.kind != "hash" and not is_bounded(part, attributes[part.name]):
            problems.add(
                "ambiguous: where this ends cannot be told, and more follows",
                part.at,
                part.name,
                _BOUND.format(part.name),
            )


def _check_once(words: list[Word], problems: Problems) -> None:
    seen: set[str] = set()
    for word in words:
        if word.text in seen:
            problems.add("an attribute that is here twice", word.at, word)
        seen.add(word.text)


def _check_part(part: Part, attributes: Mapping[str, Attribute], problems: Problems) -> None:
    attribute = attributes[part.name] if part.names else None
    if part.kind == "hash":
        _check_hash(part, problems)
    elif part.kind in ("suffix", "fixed") and attribute is not None:
        _check_bounds(part, attribute, problems)
    if part.desc and attribute is not None and not _turns_round(part, attribute):
        problems.add(
            "these bytes turned round do not sort the other way round",
            part.at,
            part.name,
            f'desc{{suffix("\\0"){{{part.name}}}}} or desc{{fixed(…){{{part.name}}}}}',
        )


def _turns_round(part: Part, attribute: Attribute) -> bool:
    return keeps_order(part, attribute) and is_bounded(part, attribute)


def _check_hash(part: Part, problems: Problems) -> None:
    if not part.names:
        problems.add("a hash of nothing", part.at, None, "names of attributes, as in hash(3)[user_id]")
    if not 1 <= part.number <= MOST_HASH_BYTES:
        problems.add("not a number of bytes of a hash", part.at, part.number, f"1 to {MOST_HASH_BYTES}")
    _check_once(list(part.names), problems)


def _check_bounds(part: Part, attribute: Attribute, problems: Problems) -> None:
    if has_width(attribute):
        width = codec_of(attribute).width
        expected = f"`{part.name}` plain: {attribute.type} always takes {width} bytes"
        problems.add(f"`{part.kind}` is for text and bytes", part.at, attribute.type, expected)
    elif part.kind == "fixed" and attribute.type.name == "json":
        problems.add("`fixed` is for text and bytes", part.at, attribute.type, "size{…} or suffix(…){…}")
    elif part.kind == "suffix" and not part.separator:
        problems.add("an empty separator ends nothing", part.at, '""', 'a separator, as in suffix("\\0")')
    elif part.kind == "fixed" and not 1 <= part.number <= MAX_ROW_BYTES:
        problems.add("not a number of bytes", part.at, part.number, f"1 to {MAX_ROW_BYTES}")


def _names_of_key(relation: Relation) -> str:
    return " or ".join(f"`{attribute.name}`" for attribute in relation.key)

"""The text format of protocol buffers, against the library that defines it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaname.errors import InvalidInput
from kaname.repositories.textproto import DEPTH, Message, Name, parse

pytest.importorskip("google.protobuf")
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DIMS = st.lists(st.integers(-1, 2**40), max_size=3)


def plain(message: Message) -> dict[str, list[Any]]:
    """Fields with their values in order; messages likewise."""
    found: dict[str, list[Any]] = {}
    for field in message.fields:
        value = plain(field.value) if isinstance(field.value, Message) else field.value
        found.setdefault(field.name, []).append(value)
    return found


def expected(message: Any) -> dict[str, list[Any]]:
    """The same of a message of the library."""
    found: dict[str, list[Any]] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            found[field.name] = [
                {"key": [key], "value": [expected(value[key]) if inner else value[key]]} for key in sorted(value)
            ]
            continue
        values = list(value) if field.is_repeated else [value]
        if field.message_type is not None:
            values = [expected(each) for each in values]
        elif field.enum_type is not None:
            values = [field.enum_type.values_by_number[each].name for each in values]
        found[field.name] = values
    return found


@st.composite
def configs(draw: st.DrawFn) -> Any:
    """Configurations of models as Triton defines them."""
    config = model_config_pb2.ModelConfig(
        name=draw(TEXTS), platform=draw(TEXTS), max_batch_size=draw(st.integers(-(2**31), 2**31 - 1))
    )
    for name in draw(st.lists(TEXTS, max_size=3)):
        tensor = config.output.add(name=name, label_filename=draw(TEXTS), data_type=draw(st.integers(0, 14)))
        tensor.dims.extend(draw(DIMS))
    for key, value in draw(st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3)).items():
        config.parameters[key].string_value = value
    for count in draw(st.lists(st.integers(0, 9), max_size=2)):
        group = config.instance_group.add(count=count, kind=draw(st.integers(0, 3)))
        group.gpus.extend(draw(st.lists(st.integers(0, 7), max_size=2)))
    if draw(st.booleans()):
        config.dynamic_batching.max_queue_delay_microseconds = draw(st.integers(0, 2**63))
        config.dynamic_batching.preserve_ordering = draw(st.booleans())
        config.dynamic_batching.preferred_batch_size.extend(draw(st.lists(st.integers(0, 99), max_size=3)))
    if draw(st.booleans()):
        config.version_policy.specific.versions.extend(draw(st.lists(st.integers(1, 99), max_size=3)))
    return config


@settings(max_examples=60, deadline=None)
@given(configs(), st.booleans(), st.booleans())
def test_what_the_library_writes_is_read_as_it_was(config: Any, as_one_line: bool, pointed: bool) -> None:
    """Texts of any letters, numbers, enums, maps and messages in each other come back, on one line or on many."""
    text = text_format.MessageToString(
        config, as_one_line=as_one_line, pointy_brackets=pointed, use_short_repeated_primitives=not pointed
    )
    assert plain(parse(text)) == expected(config)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1 a: 2", {"a": [1, 2]}),
        ("a: [1, 2], b: []; c: [ ]", {"a": [1, 2]}),
        ("a [ { b: 1 }, < b: 2 > ]", {"a": [{"b": [1]}, {"b": [2]}]}),
        ("a: { b: 1 };c<d:2>", {"a": [{"b": [1]}], "c": [{"d": [2]}]}),
        ("a: 0x1F b: 017 c: -0x2 d: - 5", {"a": [31], "b": [15], "c": [-2], "d": [-5]}),
        (
            "a: 1.5f b: .5 c: 1e3 d: -inf e: 3.",
            {"a": [1.5], "b": [0.5], "c": [1000.0], "d": [float("-inf")], "e": [3.0]},
        ),
        ("a: true b: FALSE c: KIND_GPU", {"a": [True], "b": ["FALSE"], "c": ["KIND_GPU"]}),
        (r"""a: "x\n\t\"\x41\101" 'y' "é" """, {"a": ['x\n\t"AAyé']}),
        (r'a: "ü\U0001F600"', {"a": ["ü😀"]}),
        ("# first\na: 1 # then\n#last", {"a": [1]}),
        ("[x.y/z]: 1 [some.extension] { b: 2 }", {"[x.y/z]": [1], "[some.extension]": [{"b": [2]}]}),
        ("", {}),
    ],
)
def test_the_grammar(text: str, values: dict[str, list[Any]]) -> None:
    """Every way in which the specification lets a field be written."""
    assert plain(parse(text)) == values


def test_names_are_told_from_texts_and_places_are_kept() -> None:
    """An enum's value is a name; a field knows file, line and column."""
    first, second = parse('a: "x"\n  b: KIND_CPU', "m/config.pbtxt").fields
    assert not isinstance(first.value, Name)
    assert isinstance(second.value, Name)
    assert second.place == "m/config.pbtxt:2:3"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("a 1", "1:3", "a field without a value"),
        ("a:", "1:3", "a value was expected"),
        ("a: {\n b: 1", "2:6", "a field was expected"),
        ("a: [1, 2", "1:9", "a list that does not end"),
        ("a: [1 2]", "1:7", "a list that does not end"),
        ('a: "x', "1:4", "not the text format"),
        ("a: 1\n}", "2:1", "a field was expected"),
        ("a: 12x", "1:4", "not the text format"),
        ("1: 2", "1:1", "a field was expected"),
        (r'a: "\xff"', "1:4", "a text that is not UTF-8"),
        ("a {" * (DEPTH + 2), f"1:{3 * (DEPTH + 1) + 1}", "nested too deeply"),
        ("\x00", "1:1", "not the text format"),
    ],
)
def test_faults_have_their_place(text: str, place: str, says: str) -> None:
    """A text that is none names the line and the column."""
    with pytest.raises(InvalidInput) as found:
        parse(text, "config.pbtxt")
    assert found.value.where == f"config.pbtxt:{place}"
    assert says in found.value.message

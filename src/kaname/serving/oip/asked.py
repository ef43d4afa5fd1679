"""What a request wants back: which outputs, in which order, in which form. Read once per distinct request form."""

from __future__ import annotations

from typing import Any

import msgspec

from kaname.errors import InvalidInput
from kaname.serving.json_input import explain
from kaname.serving.oip.messages import RequestedOutput, refuse_shared_memory
from kaname.signature import Signature

REMEMBERED = 256
NOT_CLASSES = frozenset({"BYTES", "BOOL"})
ROWS = "rows"
"""What errors call the rows of a request, whose columns are its inputs."""
STATEFUL = ("sequence_id", "sequence_start", "sequence_end")


class Wanted(msgspec.Struct, frozen=True):
    """One output: its position in the signature, whether as binary data, and how many classes of it (0: the tensor)."""

    index: int
    binary: bool = False
    classes: int = 0


class Asked(msgspec.Struct, frozen=True):
    """The outputs in the order asked for. `plain`: all of them, as JSON. `timeout_us` of 0: as the server has it."""

    outputs: tuple[Wanted, ...]
    plain: bool
    timeout_us: int = 0


class Form:
    """The codec's note on a call: the caller's own id, what it wants, and the compression that it understands."""

    __slots__ = ("asked", "encoding", "id")

    def __init__(self, id: str | None, asked: Asked, encoding: bytes) -> None:  # noqa: A002  (the protocol's word)
        self.id = id
        self.asked = asked
        self.encoding = encoding

    def __str__(self) -> str:
        return ROWS


class Reader:
    """Reads `parameters` and `outputs` of requests for one signature."""

    def __init__(self, signature: Signature) -> None:
        self._specs = signature.outputs
        self._positions = {spec.name: i for i, spec in enumerate(signature.outputs)}
        self.plain = Asked(tuple(Wanted(i) for i in range(len(self._specs))), plain=True)
        self._known: dict[tuple[bytes, bytes], Asked] = {}
        self._parameters = msgspec.json.Decoder(dict[str, Any] | None).decode
        self._outputs = msgspec.json.Decoder(list[RequestedOutput] | None).decode

    def read(self, parameters: msgspec.Raw, outputs: msgspec.Raw) -> Asked:
        """What these two fields of a request ask for. Raises InvalidInput that names the place."""
        key = (bytes(parameters), bytes(outputs))
        asked = self._known.get(key)
        if asked is None:
            asked = self._read(*key)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = asked
        return asked

    def _read(self, raw_parameters: bytes, raw_outputs: bytes) -> Asked:
        parameters = _decoded(self._parameters, raw_parameters, "parameters") or {}
        return self.of(parameters, _decoded(self._outputs, raw_outputs, "outputs") or [])

    def of(self, parameters: dict[str, Any], requested: list[RequestedOutput]) -> Asked:
        """The same, of fields that have been decoded."""
        _refuse_state(parameters)
        binary = _flag(parameters, "binary_data_output", False, "parameters")
        timeout_us = _count(parameters, "timeout", "parameters", least=0)
        _count(parameters, "priority", "parameters", least=0)
        if requested:
            wanted = tuple(self._wanted(output, binary, f"outputs[{i}]") for i, output in enumerate(requested))
            _refuse_repeats(requested)
        else:
            wanted = tuple(Wanted(i, binary) for i in range(len(self._specs)))
        return Asked(wanted, wanted == self.plain.outputs, timeout_us)

    def _wanted(self, output: RequestedOutput, binary: bool, where: str) -> Wanted:
        index = self._positions.get(output.name)
        if index is None:
            names = ", ".join(self._positions)
            raise InvalidInput("no such output", where=f"{where}.name", found=repr(output.name), expected=names)
        parameters = output.parameters or {}
        inside = f"{where}.parameters"
        refuse_shared(parameters, inside)
        classes = _count(parameters, "classification", inside, least=1)
        datatype = self._specs[index].datatype
        if classes and datatype in NOT_CLASSES:
            raise InvalidInput(
                "classification needs numbers",
                where=f"{inside}.classification",
                found=datatype,
                expected="a numeric output",
            )
        return Wanted(index, _flag(parameters, "binary_data", binary, inside), classes)


def refuse_shared(parameters: dict[str, Any] | None, where: str) -> None:
    """Raise InvalidInput when tensors should come or go through shared memory."""
    name = refuse_shared_memory(parameters)
    if name is not None:
        raise InvalidInput(
            "this server has no shared memory extension", where=f"{where}.{name}", expected="tensors in the body"
        )


def encoding_of(accepted: bytes) -> bytes:
    """The compression to use for an Accept-Encoding header: `gzip`, `deflate` or none (empty)."""
    weights: dict[bytes, bool] = {}
    for item in accepted.lower().split(b","):
        name, _, parameters = item.partition(b";")
        weights[name.strip()] = parameters.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    anything = weights.get(b"*", False)
    return next((name for name in (b"gzip", b"deflate") if weights.get(name, anything)), b"")


def _decoded(decode: Any, raw: bytes, where: str) -> Any:
    if not raw:
        return None
    try:
        return decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise within(explain(error), where) from None


def within(error: InvalidInput, where: str) -> InvalidInput:
    """`error`, found in a part of the body, with the place of that part before its own."""
    inner = error.where or ""
    if inner == "body":
        error.where = where
    else:
        error.where = where + (inner if inner.startswith("[") else f".{inner}")
    return error


def _refuse_state(parameters: dict[str, Any]) -> None:
    refuse_shared(parameters, "parameters")
    if any(parameters.get(name) for name in STATEFUL):
        name = next(name for name in STATEFUL if parameters.get(name))
        raise InvalidInput(
            "models here keep no state between requests",
            where=f"parameters.{name}",
            found=repr(parameters[name])[:80],
            expected="no sequence",
        )


def _refuse_repeats(requested: list[RequestedOutput]) -> None:
    seen: set[str] = set()
    for i, output in enumerate(requested):
        if output.name in seen:
            raise InvalidInput("output asked for twice", where=f"outputs[{i}].name", found=repr(output.name))
        seen.add(output.name)


def _flag(parameters: dict[str, Any], name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput("wrong type", where=f"{where}.{name}", found=repr(value)[:80], expected="true or false")
    return value


def _count(parameters: dict[str, Any], name: str, where: str, *, least: int) -> int:
    value = parameters.get(name)
    if value is None:
        return 0
    if type(value) is not int or not least <= value < 2**63:
        expected = f"a whole number, at least {least}"
        raise InvalidInput("wrong value", where=f"{where}.{name}", found=repr(value)[:80], expected=expected)
    return value

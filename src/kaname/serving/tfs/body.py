"""Bodies of the protocol, from bytes to the input of a call.

`:predict` takes `instances` (rows) or `inputs` (columns), `:classify` and `:regress` take `examples`. A version has one
signature here, so any `signature_name` means it; members that the protocol does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import msgspec

from kaname.call import Call
from kaname.errors import InvalidInput, TooLarge
from kaname.serving.exchange import Body
from kaname.serving.json_input import explain
from kaname.serving.json_rows import per_signature
from kaname.serving.tfs.columns import INPUTS, Columns
from kaname.serving.tfs.rows import Rows
from kaname.signature import Signature

INSTANCES = "instances"
EXAMPLES = "examples"
CONTEXT = "context"
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_NAME: tuple[str, Any, None] = ("signature_name", str | None, None)


def _maybe(kind: Any) -> Any:
    return Union[kind, msgspec.UnsetType]  # noqa: UP007  (built at run time)


class PredictBody:
    """`:predict` for one signature. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._rows = Rows(signature)
        self._columns = Columns(signature, self._rows)
        self._max_rows = max_rows
        body = msgspec.defstruct(
            "PredictBody",
            [
                _NAME,
                (INSTANCES, _maybe(list[self._rows.kind]), msgspec.UNSET),  # type: ignore[name-defined]
                (INPUTS, _maybe(self._columns.kind), msgspec.UNSET),
            ],
        )
        self._read = _Reader(body, bool(signature.features))

    def fill(self, call: Call, raw: Body) -> None:
        """Set the input of the call, and `form`: `instances` or `inputs`. Raises InvalidInput, TooLarge."""
        body = self._read(raw)
        if body.inputs is not msgspec.UNSET:
            if body.instances is not msgspec.UNSET:
                raise InvalidInput("both given", where="body", found="instances and inputs", expected="one of them")
            call.form = INPUTS
            self._columns.fill(call, body.inputs)
            _check_rows(call, call.rows, self._max_rows)
            return
        if body.instances is msgspec.UNSET:
            raise InvalidInput("nothing to predict", where="body", expected='"instances" or "inputs"')
        call.form = INSTANCES
        call.rows = len(body.instances)
        _check_rows(call, call.rows, self._max_rows)
        self._rows.fill(call, body.instances)


class ExamplesBody:
    """`:classify` and `:regress` for one signature: rows by name, and in `context` what they have in common."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._rows = Rows(signature)
        self._max_rows = max_rows
        body = msgspec.defstruct(
            "ExamplesBody",
            [
                _NAME,
                (EXAMPLES, _maybe(list[self._rows.kind]), msgspec.UNSET),  # type: ignore[name-defined]
                (CONTEXT, dict[str, Any] | None, None),
            ],
        )
        self._read = _Reader(body, bool(signature.features))

    def fill(self, call: Call, raw: Body) -> None:
        """Set the input of the call. Raises InvalidInput, TooLarge."""
        body = self._read(raw)
        if body.examples is msgspec.UNSET:
            raise InvalidInput("nothing to predict", where="body", expected=f'"{EXAMPLES}"')
        call.form = EXAMPLES
        call.rows = len(body.examples)
        _check_rows(call, call.rows, self._max_rows)
        self._rows.fill(call, body.examples)


def _check_rows(call: Call, rows: int, most: int) -> None:
    if not 0 < rows <= most:
        kind = TooLarge if rows else InvalidInput
        raise kind("number of rows", where=str(call.form), found=str(rows), expected=f"1 to {most}")


class _Reader:
    """Decodes bodies in one pass; what that does not take is read again with the protocol's liberties: features as
    lists of one value, and the context of examples."""

    def __init__(self, kind: type[msgspec.Struct], tabular: bool) -> None:
        self._kind = kind
        self._tabular = tabular
        self._decode: Callable[[Body], Any] = msgspec.json.Decoder(kind).decode

    def __call__(self, raw: Body) -> Any:
        try:
            body = self._decode(raw)
        except msgspec.ValidationError as error:
            return self._again(raw, error)
        except _UNREADABLE as error:
            raise explain(error) from None
        return self._again(raw, ValueError("context")) if getattr(body, CONTEXT, None) else body

    def _again(self, raw: Body, first: Exception) -> Any:
        try:
            plain = msgspec.json.decode(raw)
            if isinstance(plain, dict):
                return msgspec.convert(_freed(plain, self._tabular), self._kind)
        except _UNREADABLE as error:
            raise explain(error) from None
        raise explain(first)


def _freed(body: dict[str, Any], tabular: bool) -> dict[str, Any]:
    """The body with the context in every example, and features that are lists of one value as that value."""
    shared = body.pop(CONTEXT) if isinstance(body.get(CONTEXT), dict) else {}
    free = _single if tabular else _same
    for name in (INSTANCES, EXAMPLES):
        rows = body.get(name)
        if isinstance(rows, list):
            body[name] = [_row(row, shared if name == EXAMPLES else {}, free) for row in rows]
    columns = body.get(INPUTS)
    if isinstance(columns, dict):
        body[INPUTS] = {
            name: [free(v) for v in column] if isinstance(column, list) else column for name, column in columns.items()
        }
    return body


def _row(row: Any, shared: dict[str, Any], free: Callable[[Any], Any]) -> Any:
    if not isinstance(row, dict):
        return row
    return {name: free(value) for name, value in (shared | row).items()}


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _same(value: Any) -> Any:
    return value


predict_body, examples_body = per_signature(PredictBody), per_signature(ExamplesBody)

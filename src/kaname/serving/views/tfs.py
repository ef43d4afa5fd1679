"""TensorFlow Serving's REST API of a model with a view: keys of entities stand among the values."""

from __future__ import annotations

from typing import Any

import msgspec

from kaname.call import Call
from kaname.errors import InvalidInput
from kaname.serving.endpoint import HeaderMap
from kaname.serving.exchange import Body
from kaname.serving.json_input import explain
from kaname.serving.json_rows import B64
from kaname.serving.tfs.body import CONTEXT, EXAMPLES, INSTANCES
from kaname.serving.tfs.codec import TfsCodec
from kaname.serving.tfs.columns import INPUTS
from kaname.serving.views.keyed import KeyedCodec
from kaname.serving.views.named import Named

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class ViewTfsCodec(KeyedCodec[TfsCodec]):
    """A codec that reads entities, too."""

    def fill(self, call: Call, body: Body, headers: HeaderMap) -> None:
        call.wanted = None
        named = self._assembly.named()
        if self._codec.cannot is None and named.mentioned(body):
            try:
                said = _decode(body)
            except _UNREADABLE as error:
                raise explain(error) from None
            found = self._rows(named, said)
            if found is not None:
                call.form, rows = found
                named.fill(call, rows, str(call.form))
                return
        self._codec.fill(call, body, headers)

    def _rows(self, named: Named, said: dict[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
        """The rows of a body and what it calls them; None: none of them names a key."""
        if self._codec.verb != "predict":
            shared = said.get(CONTEXT)
            return _listed(named, said.get(EXAMPLES), EXAMPLES, shared if isinstance(shared, dict) else {})
        columns = said.get(INPUTS)
        if columns is None:
            return _listed(named, said.get(INSTANCES), INSTANCES, {})
        if INSTANCES not in said and isinstance(columns, dict) and named.is_asked(columns):
            return INPUTS, _columns(named, columns)
        return None


def _listed(named: Named, rows: Any, form: str, shared: dict[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
    if not isinstance(rows, list):
        return None
    if not any(isinstance(row, dict) and named.is_asked(row) for row in (shared, *rows)):
        return None
    found = []
    for i, row in enumerate(rows):
        where = f"{form}[{i}]"
        if not isinstance(row, dict):
            raise InvalidInput("wrong type", where=where, found=type(row).__name__, expected="object")
        whole = {**shared, **row}
        found.append({name: _value(named, name, value, f"{where}.{name}") for name, value in whole.items()})
    return form, found


def _columns(named: Named, said: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of columns; a key that is no list, or one of a single element, is that of all rows."""
    columns = {name: column if isinstance(column, list) else [column] for name, column in said.items()}
    count = max([len(column) for column in columns.values()])
    for name, column in columns.items():
        where = f"{INPUTS}.{name}"
        if len(column) == 1 and name in named.keys:
            column *= count
        elif len(column) != count:
            raise InvalidInput("columns of different rows", where=where, found=str(len(column)), expected=str(count))
        columns[name] = [_value(named, name, value, f"{where}[{i}]") for i, value in enumerate(column)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _value(named: Named, name: str, value: Any, where: str) -> Any:
    """A value with the protocol's liberties: a list of one for a lone value, bytes in base64."""
    if isinstance(value, list) and len(value) == 1 and not named.is_nested(name):
        value = value[0]
    if isinstance(value, dict) and value.keys() == {B64}:
        try:
            value = msgspec.convert(value[B64], bytes)
        except msgspec.ValidationError:
            found = repr(value[B64])[:80]
            raise InvalidInput("not base64", where=f"{where}.{B64}", found=found, expected="bytes in base64") from None
    return named.text(name, value, where) if isinstance(value, bytes | str) else value

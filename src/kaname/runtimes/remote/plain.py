"""An endpoint that takes rows as JSON and answers one thing per row: what people write when they write a server."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from kaname.client.exchanged import Reply
from kaname.runtimes.remote.description import Rows
from kaname.runtimes.remote.http import Asked, HttpLink
from kaname.runtimes.remote.types import Tensors
from kaname.runtimes.remote.values import decoded, nested, tensor_of, unlike
from kaname.signature import Feature, Signature
from kaname.tensors import Tensor


class Plain:
    """See `http.Dialect`. A row is a list where the model has one input of numbers, else an object by name."""

    def __init__(self, path: str, form: Rows, signature: Signature) -> None:
        self._path = path
        self._form = form
        self._signature = signature
        self._names = [spec.name for spec in signature.inputs]

    def request(self, inputs: Tensors) -> Asked:
        """See `Dialect.request`."""
        body = {**self._form.more, self._form.rows: self._rows(inputs)}
        return Asked(self._path, msgspec.json.encode(body), {"content-type": "application/json"})

    def _rows(self, inputs: Tensors) -> list[Any]:
        features = self._signature.features
        if features:
            matrix = self._signature.layout == "matrix"
            columns = [inputs[0][:, i] for i in range(len(features))] if matrix else [x.reshape(-1) for x in inputs]
            cells = [_cells(column, feature) for column, feature in zip(columns, features, strict=True)]
            return [dict(zip((f.name for f in features), row, strict=True)) for row in zip(*cells, strict=True)]
        if len(inputs) == 1 and not self._form.named:
            rows: list[Any] = nested(inputs[0])
            return rows
        return [dict(zip(self._names, row, strict=True)) for row in zip(*map(nested, inputs), strict=True)]

    def answer(self, reply: Reply) -> Tensors:
        """See `Dialect.answer`."""
        found = decoded(reply.body)
        name = self._form.answers
        rows = found if not name else found.get(name) if isinstance(found, dict) else None
        if not isinstance(rows, list):
            shown = reply.body[:80].decode(errors="replace")
            raise unlike("the answer has no rows", shown, f"a list under `{name}`" if name else "a list")
        return tuple(
            tensor_of([self._value(row, spec.name) for row in rows], spec.datatype, None, spec.name)
            for spec in self._signature.outputs
        )

    def _value(self, row: Any, output: str) -> Any:
        if isinstance(row, dict):
            if output not in row:
                raise unlike("a row of the answer lacks an output", ", ".join(row) or "none", output)
            return row[output]
        if len(self._signature.outputs) > 1:
            raise unlike("a row of the answer does not name its outputs", type(row).__name__, output)
        return row

    def ready(self, link: HttpLink, timeout_s: float) -> None:
        """See `Dialect.ready`: what the description names, or that somebody listens."""
        if self._form.ready is None:
            link.reach(timeout_s)
        else:
            link.get(self._form.ready, timeout_s)

    def described(self, link: HttpLink, timeout_s: float) -> None:
        """See `Dialect.described`: the description says it all; the address must be there."""
        self.ready(link, timeout_s)


def _cells(column: Tensor, feature: Feature) -> list[Any]:
    """The values of a column as people write them: categories by name, NaN as null."""
    values: list[Any] = nested(np.ascontiguousarray(column))
    names = feature.categories
    if names is not None:
        return [None if _is_nan(value) else names[int(value)] for value in values]
    return values


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)

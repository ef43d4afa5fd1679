"""From a request's inputs to the table or the tensors of a call: any order, JSON or binary, every datatype."""

from __future__ import annotations

from typing import Any

from kaname.call import Call
from kaname.errors import InvalidInput, TooLarge
from kaname.serving.oip.asked import refuse_shared
from kaname.serving.oip.binary import Blobs
from kaname.serving.oip.cells import check_for, check_tensors, codes_of
from kaname.serving.oip.messages import InferInput
from kaname.serving.oip.values import flat_values, product, shown, tensor_of
from kaname.signature import Feature, Signature
from kaname.tensors import NUMPY_OF, Tensor, TensorSpec, fits, viewed

SIZE = "binary_data_size"


class Decoder:
    """Reads the inputs of requests for one signature. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._signature = signature
        self._max_rows = max_rows
        self._layout = signature.layout
        self._positions = {spec.name: i for i, spec in enumerate(signature.inputs)}
        self._check = check_for(signature.features)

    def fill(self, call: Call, inputs: list[InferInput], blobs: Blobs) -> None:
        """Set `rows`, and `table` or `tensors` of the call. Raises InvalidInput, or TooLarge for too many rows."""
        given = self._ordered(inputs)
        rows = self._rows(given)
        values: list[list[Any] | Tensor] = [[] for _ in given]
        for place, tensor in enumerate(inputs):  # binary data comes in the order of the request
            position = self._positions[tensor.name]
            values[position] = self._values(tensor, position, f"inputs[{place}]", blobs)
        blobs.finish()
        call.rows = rows
        if self._layout != "tensors" and all(isinstance(value, list) for value in values):
            call.table = self._table(values, rows)
        else:
            call.tensors = tuple(
                tensor_of(value, spec.datatype, one.shape, f"{where}.data") if isinstance(value, list) else value
                for value, spec, (where, one) in zip(values, self._signature.inputs, given, strict=True)
            )
            if self._layout != "tensors":
                check_tensors(self._signature, call.tensors)

    def _ordered(self, inputs: list[InferInput]) -> list[tuple[str, InferInput]]:
        """The inputs in the signature's order, each with its place in the request."""
        found: list[tuple[str, InferInput] | None] = [None] * len(self._positions)
        for i, one in enumerate(inputs):
            where = f"inputs[{i}]"
            position = self._positions.get(one.name)
            if position is None:
                expected = ", ".join(self._positions)
                raise InvalidInput("no such input", where=f"{where}.name", found=repr(one.name)[:80], expected=expected)
            if found[position] is not None:
                raise InvalidInput(
                    "input given twice", where=f"{where}.name", found=repr(one.name)[:80], expected="once"
                )
            found[position] = (where, one)
        missing = [name for name, position in self._positions.items() if found[position] is None]
        if missing:
            expected = ", ".join(self._positions)
            raise InvalidInput(
                f"input {missing[0]!r} is missing", where="inputs", found=f"{len(inputs)}", expected=expected
            )
        return [pair for pair in found if pair is not None]

    def _rows(self, given: list[tuple[str, InferInput]]) -> int:
        """Check every shape; the number of rows that they agree on."""
        batched = self._signature.batched
        rows = -1
        for spec, (where, one) in zip(self._signature.inputs, given, strict=True):
            shape = one.shape
            place = f"{where}.shape"
            if any(size < 0 for size in shape) or not fits(tuple(shape), spec.shape):
                raise InvalidInput("wrong shape", where=place, found=shown(shape), expected=shown(spec.shape))
            if not batched:
                continue
            if not 0 < shape[0] <= self._max_rows:
                kind = TooLarge if shape[0] else InvalidInput
                raise kind(
                    "number of rows", where=f"{place}[0]", found=str(shape[0]), expected=f"1 to {self._max_rows}"
                )
            if rows not in (-1, shape[0]):
                raise InvalidInput(
                    "inputs of different rows", where=f"{place}[0]", found=str(shape[0]), expected=str(rows)
                )
            rows = shape[0]
        return rows if batched else 1

    def _values(self, one: InferInput, position: int, where: str, blobs: Blobs) -> list[Any] | Tensor:
        """The data of one of the model's inputs."""
        spec = self._signature.inputs[position]
        feature = self._signature.features[position] if self._layout == "columns" else None
        named = feature is not None and feature.categories is not None and one.datatype == "BYTES"
        if one.datatype != spec.datatype and not named:
            known = one.datatype in NUMPY_OF or one.datatype == "BF16"
            message = "wrong datatype" if known else "no such datatype"
            raise InvalidInput(message, where=f"{where}.datatype", found=one.datatype[:40], expected=spec.datatype)
        refuse_shared(one.parameters, f"{where}.parameters")
        values = self.data(one, where, blobs, nullable=self._nullable(spec, feature))
        if not named:
            return values
        assert feature is not None
        return codes_of(values if isinstance(values, list) else values.reshape(-1).tolist(), feature)

    def data(self, one: InferInput, where: str, blobs: Blobs, *, nullable: bool) -> list[Any] | Tensor:
        """The data of any input of a known datatype: a flat list when it came as JSON, else a tensor."""
        size = (one.parameters or {}).get(SIZE)
        data = bytes(memoryview(one.data)[:8])
        if size is None:
            if not data:
                raise InvalidInput("no data", where=where, found="neither", expected=f'"data" or "{SIZE}"')
            return flat_values(one.data, one.datatype, nullable, one.shape, f"{where}.data")
        if data:
            raise InvalidInput("data twice", where=where, found=f'"data" and "{SIZE}"', expected="one of them")
        piece = blobs.take(size, f"{where}.parameters.{SIZE}")
        return viewed(piece, one.datatype, tuple(one.shape), where)

    def _nullable(self, spec: TensorSpec, feature: Feature | None) -> bool:
        if spec.datatype == "BYTES" or spec.datatype.startswith("FP"):
            if self._layout == "matrix":
                return any(one.nullable for one in self._signature.features)
            return feature is not None and feature.nullable
        return feature is not None and feature.nullable and feature.categories is not None

    def _table(self, values: list[Any], rows: int) -> list[Any]:
        if self._layout == "matrix":
            (flat,) = values
            width = product(self._signature.inputs[0].shape[1:])
            table = [flat[i : i + width] for i in range(0, rows * width, width)]
        else:
            columns = [
                [b"" if cell is None else cell.encode() for cell in column] if spec.datatype == "BYTES" else column
                for column, spec in zip(values, self._signature.inputs, strict=True)
            ]
            table = list(zip(*columns, strict=True))
        if self._check is not None:
            self._check(table)
        return table

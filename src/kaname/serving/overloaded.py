"""What a model's owner wants said under overload in the place of a refusal: a configured answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from kaname.call import Answer, Call, Handler, Outcome, Outputs
from kaname.errors import InvalidInput, KanameError, Overloaded
from kaname.models.types import VersionInfo
from kaname.serving.endpoint import Codec
from kaname.signature import OutputSpec, Signature
from kaname.tensors import NUMPY_OF, Tensor

MARK = b"x-answer: overload-value\r\n"
LOG = logging.getLogger("kaname.overload")


class Configured(Outputs):
    """Outputs that no model has computed."""

    __slots__ = ()


def value_handler(info: VersionInfo, value: Sequence[Any] | None) -> Handler | None:
    """The handler that answers `value` for every row in the place of a refusal for overload; None where the value does
    not fit the version, which then refuses as by default."""
    try:
        row = _row(info.signature, value)
    except InvalidInput as error:
        LOG.error("%s@%s refuses under overload: %s", info.model, info.version, error)
        return None

    def answer(call: Call, outcome: Outcome) -> Outcome:
        if type(outcome) is not Overloaded or not call.rows:
            return outcome
        return Answer(Configured(tuple(np.repeat(one, call.rows, axis=0) for one in row)), 0, None)

    return answer


def _row(signature: Signature, value: Sequence[Any] | None) -> list[Tensor]:
    """The value as the outputs of one row. Raises InvalidInput."""
    outputs = signature.outputs
    if value is None or len(value) != len(outputs) or not signature.batched:
        found = "none" if value is None else f"{len(value)} values"
        names = ", ".join(spec.name for spec in outputs)
        raise InvalidInput(
            "unusable value", where="overload_value", found=found, expected=f"a value for each of {names}"
        )
    return [_tensor(spec, one) for spec, one in zip(outputs, value, strict=True)]


def _tensor(spec: OutputSpec, value: Any) -> Tensor:
    where, shape = f"overload_value[{spec.name}]", spec.shape[1:]
    try:
        if spec.datatype == "BYTES":
            tensor = np.array([value], dtype=object)
            flat = [one.encode() if isinstance(one, str) else bytes(one) for one in tensor.flat]
            tensor = np.array(flat, dtype=object).reshape(tensor.shape)
        else:
            tensor = np.array([value], dtype=NUMPY_OF[spec.datatype])
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"unusable value: {error}", where=where, found=repr(value), expected=spec.datatype) from None
    fits = tensor.ndim == len(shape) + 1 and all(
        want in (-1, size) for want, size in zip(shape, tensor.shape[1:], strict=True)
    )
    if not fits:
        raise InvalidInput("wrong shape", where=where, found=str(tensor.shape[1:]), expected=str(tuple(shape)))
    return tensor


class ValueCodec:
    """A codec whose HTTP answers tell when they are the configured value."""

    def __init__(self, codec: Codec) -> None:
        self._answer = codec.answer
        self.accepts = codec.accepts
        self.fill = codec.fill
        self._refuse = codec.refuse

    def answer(self, call: Call, answer: Answer, latency_ns: int) -> tuple[bytes, bytes]:
        head, body = self._answer(call, answer, latency_ns)
        return (head + MARK if type(answer.outputs) is Configured else head), body

    def refuse(
        self, error: KanameError, instance: str, request_id: str, status: int | None = None
    ) -> tuple[int, bytes, bytes]:
        return self._refuse(error, instance, request_id, status)

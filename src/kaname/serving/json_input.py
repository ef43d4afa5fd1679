"""Bodies of `POST …/predict`: `{"features": …}` or `{"instances": […]}` to the rows or tensors of a call.

One typed decoder is built per version from its signature, so that a body is checked and converted in one pass.
Of duplicate JSON keys the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Union

import msgspec

from kaname.call import Call, Row
from kaname.errors import InvalidInput, TooLarge
from kaname.serving.exchange import Body
from kaname.serving.json_rows import (
    ONE,
    feature_type,
    per_signature,
    place,
    row_encoder,
    tensor_builder,
    tensor_type,
)
from kaname.signature import Signature
from kaname.tensors import Tensor

_AT = re.compile(r"^(.*?)(?: - at `\$?\.?(.*)`)?$", re.DOTALL)
_GOT = re.compile(r"^Expected `(.+)`, got `(.+)`$")
MANY = "instances"


def explain(error: Exception) -> InvalidInput:
    """What msgspec found wrong with a body, as an error that names the place, what was found and expected."""
    if isinstance(error, RecursionError):
        return InvalidInput("the body is nested too deeply", where="body")
    if isinstance(error, UnicodeDecodeError):
        return InvalidInput("the body is not UTF-8", where="body", found=f"byte {error.object[error.start]:#x}")
    matched = _AT.match(str(error))
    assert matched is not None
    message, where = matched.group(1), matched.group(2) or "body"
    got = _GOT.match(message)
    if got is None:
        return InvalidInput(message[:1].lower() + message[1:], where=where)
    return InvalidInput("wrong type", where=where, found=got.group(2), expected=got.group(1))


class JsonInput:
    """Decodes the bodies for one signature. `max_rows` bounds the rows of one request."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._signature = signature
        self._max_rows = max_rows
        one = feature_type(signature) if signature.features else tensor_type(signature)
        body = msgspec.defstruct(
            "PredictBody",
            [
                (ONE, Union[one, msgspec.UnsetType], msgspec.UNSET),  # noqa: UP007  (built at run time)
                (MANY, Union[list[one], msgspec.UnsetType], msgspec.UNSET),  # type: ignore[valid-type]  # noqa: UP007
            ],
            forbid_unknown_fields=True,
        )
        self._decode: Callable[[Body], Any] = msgspec.json.Decoder(body).decode
        self._encode_row: Callable[[Any, str], Row] | None = None
        self._tensors: Callable[[Sequence[Any], Call], tuple[Tensor, ...]] | None = None
        self._plain = signature.plain_matrix
        if self._plain:
            self._encode_row = lambda item, _: item if type(item) is list else item.f0
        elif signature.features:
            self._encode_row = row_encoder(signature.features)
        else:
            self._tensors = tensor_builder(signature)

    def fill(self, call: Call, body: Body, _: object = None) -> None:
        """Set the call's rows, its table or tensors, and its form (`features` or `instances`).

        Raises InvalidInput, or TooLarge for too many rows.
        """
        try:
            decoded = self._decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise explain(error) from None
        one = decoded.features
        if one is not msgspec.UNSET:
            if decoded.instances is not msgspec.UNSET:
                raise InvalidInput("both given", where="body", found="features and instances", expected="one of them")
            call.form = ONE
            call.rows = 1
            if self._plain:
                call.table = (one if type(one) is list else one.f0,)
            elif self._encode_row is not None:
                call.table = (self._encode_row(one, ONE),)
            else:
                self._fill(call, (one,))
            return
        many = decoded.instances
        if many is msgspec.UNSET:
            raise InvalidInput("nothing to predict", where="body", expected='"features" or "instances"')
        if not 0 < len(many) <= self._max_rows:
            kind = TooLarge if many else InvalidInput
            raise kind("number of rows", where=MANY, found=str(len(many)), expected=f"1 to {self._max_rows}")
        call.form = MANY
        call.rows = len(many)
        self._fill(call, many)

    def _fill(self, call: Call, items: Sequence[Any]) -> None:
        if self._encode_row is not None:
            encode = self._encode_row
            call.table = [encode(item, place(call, i)) for i, item in enumerate(items)]
        else:
            assert self._tensors is not None
            call.tensors = self._tensors(items, call)


json_input = per_signature(JsonInput)

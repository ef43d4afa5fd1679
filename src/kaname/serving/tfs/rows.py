"""The row form: one element per row, an object by feature or input name, the values in order, or the only value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Union

import msgspec

from kaname.call import Call, Row
from kaname.serving.json_rows import cell_type, feature_type, place, row_encoder, tensor_builder, tensor_type
from kaname.signature import Signature
from kaname.tensors import Tensor


class Rows:
    """Rows of one signature. `kind` is the type that one element is decoded to."""

    def __init__(self, signature: Signature) -> None:
        self._plain = signature.plain_matrix
        self._encode: Callable[[Any, str], Row] | None = None
        self._build: Callable[[Sequence[Any], Call], tuple[Tensor, ...]] | None = None
        self.kind: Any
        if signature.features:
            self._encode = row_encoder(signature.features)
            self.kind = feature_type(signature, binary=True)
            if len(signature.features) == 1:
                self.kind = Union[self.kind, cell_type(signature.features[0])]  # noqa: UP007  (built at run time)
        else:
            self.kind = tensor_type(signature, binary=True)
            if not self._plain:
                self._build = tensor_builder(signature)

    def fill(self, call: Call, items: Sequence[Any]) -> None:
        """Set the call's table or tensors. `call.form` is the name of the list that the items came in."""
        if self._plain:
            call.table = [item if type(item) is list else item.f0 for item in items]
        elif self._encode is not None:
            encode = self._encode
            call.table = [encode(_cells(item), place(call, i)) for i, item in enumerate(items)]
        else:
            assert self._build is not None
            call.tensors = self._build(items, call)


def _cells(item: Any) -> Any:
    """A row that is a single value as one in order."""
    return item if type(item) is tuple or isinstance(item, msgspec.Struct) else (item,)

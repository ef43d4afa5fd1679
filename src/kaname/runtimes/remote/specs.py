"""Tensors as a remote describes and gives them, against the signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from kaname.errors import RemoteFailed
from kaname.runtimes.remote.types import Tensors
from kaname.signature import Signature
from kaname.tensors import NUMPY_OF, Datatype, TensorSpec, datatype_of, fits


def spec_of(name: str, datatype: str, shape: Sequence[int]) -> TensorSpec:
    """A described tensor. Raises RemoteFailed for a datatype that nothing here can hold."""
    if datatype not in NUMPY_OF:
        expected = ", ".join(NUMPY_OF)
        raise RemoteFailed(f"tensor {name} has a datatype that is not known", found=datatype, expected=expected)
    return TensorSpec(name=name, datatype=cast("Datatype", datatype), shape=tuple(shape))


def check_outputs(signature: Signature, outputs: Tensors, rows: int | None, address: str) -> None:
    """Raise RemoteFailed unless the outputs are what the signature says, with `rows` rows where they have any."""
    for spec, tensor in zip(signature.outputs, outputs, strict=True):
        found = f"{datatype_of(tensor.dtype)}{list(tensor.shape)}"
        other = datatype_of(tensor.dtype) != spec.datatype or not fits(tensor.shape, spec.shape)
        if other or (signature.batched and tensor.shape[0] != rows):
            raise RemoteFailed(
                f"output {spec.name} is not what it was when the model was imported",
                where=address,
                found=found,
                expected=f"{spec.datatype}{list(spec.shape)}" + (f" with {rows} rows" if signature.batched else ""),
            )

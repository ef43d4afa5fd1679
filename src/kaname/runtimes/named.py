"""Datatypes by the names that frameworks give them."""

from __future__ import annotations

from typing import cast

from kaname.tensors import NUMPY_OF, Datatype

DATATYPES: dict[str, Datatype] = {
    **{str(dtype): cast("Datatype", name) for name, dtype in NUMPY_OF.items() if name != "BYTES"},
    "bfloat16": "FP32",  # numpy has no bfloat16; single precision holds every one of its numbers
}
"""`float32` is FP32, and so on."""

"""The REST API of TensorFlow Serving, and of KServe v1, as a client speaks it: tensors by name, as JSON.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from kaname.client.exchanged import Reply
from kaname.errors import Unavailable
from kaname.runtimes.remote.http import Asked, HttpLink
from kaname.runtimes.remote.types import Described, Tensors, Trouble
from kaname.runtimes.remote.values import decoded, in_order, nested_base64, tensor_of, unlike
from kaname.signature import Signature
from kaname.tensors import TENSORFLOW_OF, Tensor, TensorSpec

_DATATYPE_OF: dict[Any, Any] = {name: datatype for datatype, name in TENSORFLOW_OF.items()}


class TensorFlow:
    """See `http.Dialect`."""

    def __init__(self, model: str, version: str | None, signature: Signature, signature_name: str) -> None:
        """`signature`: without inputs and outputs where only descriptions are asked for."""
        self._path = f"/v1/models/{quote(model, safe='')}" + (
            "" if version is None else f"/versions/{quote(version, safe='')}"
        )
        self._inputs = [spec.name for spec in signature.inputs]
        self._outputs = signature.outputs
        self._signature_name = signature_name

    def request(self, inputs: Tensors) -> Asked:
        """See `Dialect.request`."""
        named = dict(zip(self._inputs, map(nested_base64, inputs), strict=True))
        body = {"signature_name": self._signature_name, "inputs": named}
        finite = all(_is_finite(tensor) for tensor in inputs)  # the protocol has NaN, which JSON has not
        raw = msgspec.json.encode(body) if finite else json.dumps(body).encode()
        return Asked(f"{self._path}:predict", raw, {"content-type": "application/json"})

    def answer(self, reply: Reply) -> Tensors:
        """See `Dialect.answer`: a server leaves out the name of an only output."""
        found = decoded(reply.body)
        outputs = found.get("outputs") if isinstance(found, dict) else None
        if outputs is None:
            raise unlike("the answer is not one of the protocol", reply.body[:80].decode(errors="replace"), "outputs")
        if not isinstance(outputs, dict):
            outputs = {self._outputs[0].name: outputs}
        types = {spec.name: spec.datatype for spec in self._outputs}
        tensors = {name: tensor_of(data, types[name], None, name) for name, data in outputs.items() if name in types}
        return in_order(tensors, list(types))

    def ready(self, link: HttpLink, timeout_s: float) -> None:
        """See `Dialect.ready`: a version is available, or, as KServe says it, the model is ready."""
        found = decoded(link.get(self._path, timeout_s).body)
        states = [one.get("state") for one in found.get("model_version_status", ())] if isinstance(found, dict) else []
        if "AVAILABLE" in states or (isinstance(found, dict) and found.get("ready") is True):
            return
        shown = ", ".join(map(str, states)) or "no version"
        raise Trouble(Unavailable("the remote has not loaded the model", where=link.address, found=shown))

    def described(self, link: HttpLink, timeout_s: float) -> Described:
        """See `Dialect.described`."""
        found = decoded(link.get(f"{self._path}/metadata", timeout_s).body)
        try:
            known = found["metadata"]["signature_def"]["signature_def"]
        except (KeyError, TypeError):
            raise unlike("the model's metadata are not of the protocol", expected="signature_def") from None
        signature = known.get(self._signature_name)
        if signature is None:
            raise unlike("the model has no such signature", ", ".join(known), self._signature_name)
        inputs, outputs = (
            tuple(_spec(name, info) for name, info in signature.get(kind, {}).items()) for kind in ("inputs", "outputs")
        )
        return Described(inputs, outputs, binary=False)


def _spec(name: str, info: Any) -> TensorSpec:
    try:
        datatype = _DATATYPE_OF[info["dtype"]]
        shape = tuple(int(dim["size"]) for dim in info["tensor_shape"].get("dim", ()))
    except (KeyError, TypeError, ValueError):
        raise unlike(f"tensor {name} is not one that is known", str(info)[:200], ", ".join(_DATATYPE_OF)) from None
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def _is_finite(tensor: Tensor) -> bool:
    return tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all())

"""Of the service `tensorflow.serving.ModelService` the method `GetModelStatus`: which versions of a model answer."""

from __future__ import annotations

import grpc

from kaname.protobuf.messages import Message, kind
from kaname.serving.grpc import prediction
from kaname.serving.grpc.rpc import Access, Method, Rpcs
from kaname.serving.oip.types import Catalog
from kaname.serving.tfs import describe

SERVICE = "tensorflow.serving.ModelService"
_REQUEST = kind("tensorflow.serving.GetModelStatusRequest")
_RESPONSE = kind("tensorflow.serving.GetModelStatusResponse")
_STATES = kind("tensorflow.serving.ModelVersionStatus").State


def methods(rpcs: Rpcs, catalog: Catalog, access: Access) -> dict[str, Method]:
    """The method by path."""

    def status(request: Message, context: grpc.ServicerContext) -> Message:
        spec = request.model_spec
        access.need(context, "read", spec.name)
        found = describe.status(catalog.entry(spec.name), prediction.version(spec, catalog), catalog)
        answer = _RESPONSE()
        for one in found["model_version_status"]:
            written = answer.model_version_status.add(state=_STATES.Value(one["state"]), status={"error_code": 0})
            written.version = prediction.number(one["version"]) or 0
        return answer

    return {f"/{SERVICE}/GetModelStatus": rpcs.unary(_REQUEST, status)}

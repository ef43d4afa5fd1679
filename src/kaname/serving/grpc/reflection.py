"""Server reflection, so that tools can call what they have no definitions of. Needs a key, as all but health does."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from kaname.errors import InvalidInput
from kaname.protobuf.messages import POOL, Message, kind, parse
from kaname.serving.grpc.rpc import Access, Method, Rpcs

SERVICE = "grpc.reflection.v1.ServerReflection"
BEFORE = "grpc.reflection.v1alpha.ServerReflection"
"""The same service under the name that older tools ask for."""
REQUEST = kind("grpc.reflection.v1.ServerReflectionRequest")
RESPONSE = kind("grpc.reflection.v1.ServerReflectionResponse")
NOT_FOUND: int = grpc.StatusCode.NOT_FOUND.value[0]
UNIMPLEMENTED: int = grpc.StatusCode.UNIMPLEMENTED.value[0]


def methods(rpcs: Rpcs, access: Access, services: Collection[str]) -> dict[str, Method]:
    """The methods by path."""

    def reflect(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        access.principal(context)
        for body in bodies:
            try:
                request = parse(REQUEST, body)
            except InvalidInput as error:
                yield _error(3, str(error)).SerializeToString()
                continue
            answer = _answer(request, services)
            answer.valid_host = request.host
            answer.original_request.CopyFrom(request)
            yield answer.SerializeToString()

    method = rpcs.stream(reflect)
    return {f"/{name}/ServerReflectionInfo": method for name in (SERVICE, BEFORE)}


def _answer(request: Message, services: Collection[str]) -> Message:
    asked: Any = request
    match asked.WhichOneof("message_request"):
        case "list_services":
            return RESPONSE(list_services_response={"service": [{"name": name} for name in services]})
        case "file_by_filename":
            return _file(POOL.FindFileByName, asked.file_by_filename)
        case "file_containing_symbol":
            name = asked.file_containing_symbol
            return _file(POOL.FindFileContainingSymbol, SERVICE if name == BEFORE else name)
        case "all_extension_numbers_of_type":
            return RESPONSE(all_extension_numbers_response={"base_type_name": asked.all_extension_numbers_of_type})
    return _error(UNIMPLEMENTED, "this server has no extensions")


def _file(find: Any, name: str) -> Message:
    try:
        file = find(name)
    except KeyError:
        return _error(NOT_FOUND, f"nothing called {name[:200]!r} here")
    files = [_proto(one) for one in _with_imports(file)]
    return RESPONSE(file_descriptor_response={"file_descriptor_proto": files})


def _with_imports(file: FileDescriptor) -> list[FileDescriptor]:
    found = {file.name: file}
    for one in file.dependencies:
        found |= {each.name: each for each in _with_imports(one)}
    return list(found.values())


def _proto(file: FileDescriptor) -> bytes:
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    serialized: bytes = proto.SerializeToString()
    return serialized


def _error(code: int, message: str) -> Message:
    return RESPONSE(error_response={"error_code": code, "error_message": message})

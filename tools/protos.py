"""Compiles the protocol definitions of `protobuf/protos` into the descriptors that the package ships."""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[1] / "src" / "kaname" / "protobuf" / "protos"
NAMES = (
    "health.proto",
    "open_inference.proto",
    "reflection.proto",
    "tensorflow.proto",
    "tensorflow_error.proto",
    "tensorflow_serving.proto",
)
DESCRIPTORS = PROTOS / "descriptors.binpb"


def compiled() -> bytes:
    """The descriptors of all definitions and of what they import."""
    include = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        options = [f"-I{PROTOS}", f"-I{include}", "--include_imports", f"--descriptor_set_out={out}"]
        if protoc.main(["protoc", *options, *NAMES]) != 0:
            raise SystemExit("the definitions cannot be compiled")
        found = FileDescriptorSet.FromString(out.read_bytes())
    return found.SerializeToString(deterministic=True)


if __name__ == "__main__":
    DESCRIPTORS.write_bytes(compiled())
    sys.stdout.write(f"{DESCRIPTORS}\n")

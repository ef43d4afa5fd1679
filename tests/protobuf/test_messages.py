"""The message definitions: compiled as committed, and compatible with those of the reference clients."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import service_pb2

from kaname.protobuf.messages import POOL

ROOT = Path(__file__).resolve().parents[2]
OWN = {
    # KServe's clients send the model first and read the answer; those of the other family leave these fields alone.
    ("RepositoryModelLoadResponse", "model_name"),
    ("RepositoryModelLoadResponse", "is_loaded"),
    ("RepositoryModelUnloadResponse", "model_name"),
    ("RepositoryModelUnloadResponse", "is_unloaded"),
}


def test_the_committed_descriptors_are_those_of_the_definitions() -> None:
    """`python tools/protos.py` has been run after the last change."""
    spec = importlib.util.spec_from_file_location("protos", ROOT / "tools" / "protos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["protos"] = module
    spec.loader.exec_module(module)
    committed = FileDescriptorSet.FromString(module.DESCRIPTORS.read_bytes())
    assert FileDescriptorSet.FromString(module.compiled()) == committed


def facts(field: FieldDescriptor) -> tuple[Any, ...]:
    """What makes a field what it is on the wire, and by name."""
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else None
    return field.number, field.type, field.label, kind.full_name if kind else None, oneof


def compare(own: Descriptor, theirs: Descriptor) -> int:
    """Compare every field of `own`; returns how many there were."""
    count = 0
    for field in own.fields:
        if (own.name, field.name) in OWN:
            continue
        assert facts(field) == facts(theirs.fields_by_name[field.name]), field.full_name
        count += 1
    return count + sum(compare(nested, theirs.nested_types_by_name[nested.name]) for nested in own.nested_types)


@pytest.mark.filterwarnings("ignore:label.. is deprecated")
def test_the_inference_messages_are_those_of_the_reference_client() -> None:
    """Every field has the number, the type and the place that the other side writes."""
    own = POOL.FindFileByName("open_inference.proto")
    known = service_pb2.DESCRIPTOR.pool
    fields = 0
    for name, message in own.message_types_by_name.items():
        fields += compare(message, known.FindMessageTypeByName(f"inference.{name}"))
    assert fields > 100
    service = own.services_by_name["GRPCInferenceService"]
    other = known.FindServiceByName(service.full_name)
    for method in service.methods:
        assert method.input_type.full_name == other.FindMethodByName(method.name).input_type.full_name
        assert method.output_type.full_name == other.FindMethodByName(method.name).output_type.full_name

"""Bad gRPC requests: each gets the status of its fault and a word on the place, and harms nobody."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest

from kaname.protobuf.messages import kind
from tests.processes import until
from tests.serving.oip.conftest import Served

REQUEST, RESPONSE = kind("inference.ModelInferRequest"), kind("inference.ModelInferResponse")
INFER = "/inference.GRPCInferenceService/ModelInfer"
RAW = struct.pack("<4f", 5.1, 3.5, 1.4, 0.2)
Change = Callable[[Any], None]


def good() -> Any:
    """A request that is answered."""
    one = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    return REQUEST(model_name="iris", inputs=[one], raw_input_contents=[RAW])


def typed(datatype: str = "FP32", **contents: Any) -> Change:
    def change(request: Any) -> None:
        del request.raw_input_contents[:]
        request.inputs[0].datatype = datatype
        for name, values in contents.items():
            getattr(request.inputs[0].contents, name).extend(values)

    return change


def shaped(*shape: int) -> Change:
    def change(request: Any) -> None:
        request.inputs[0].shape[:] = shape

    return change


def setting(**fields: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in fields.items():
            setattr(request, name, value)

    return change


def first(**fields: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in fields.items():
            setattr(request.inputs[0], name, value)

    return change


def outputs(*names: str, **parameters: Any) -> Change:
    def change(request: Any) -> None:
        for name in names:
            output = request.outputs.add(name=name)
            for key, value in parameters.items():
                output.parameters[key].int64_param = value

    return change


def raws(*pieces: bytes) -> Change:
    def change(request: Any) -> None:
        request.raw_input_contents[:] = pieces

    return change


def parameter(name: str, kind: str, value: Any) -> Change:
    def change(request: Any) -> None:
        setattr(request.parameters[name], f"{kind}_param", value)

    return change


def many(*changes: Change) -> Change:
    def change(request: Any) -> None:
        for one in changes:
            one(request)

    return change


def sums(contents: Any) -> Change:
    """Another model, whose inputs are whole numbers."""

    def change(request: Any) -> None:
        request.Clear()
        request.model_name = "sums"
        for name in ("a", "b"):
            one = request.inputs.add(name=name, datatype="INT32", shape=[1, 16])
            one.contents.CopyFrom(kind("inference.InferTensorContents")(**contents))

    return change


def small(request: Any) -> None:
    """A value that its datatype cannot hold."""
    request.Clear()
    request.model_name = "sums"
    request.inputs.add(name="a", datatype="INT8", shape=[1, 16]).contents.int_contents.extend([300] * 16)
    request.inputs.add(name="b", datatype="INT32", shape=[1, 16]).contents.int_contents.extend([1] * 16)


def again(request: Any) -> None:
    request.inputs.add().CopyFrom(request.inputs[0])
    request.raw_input_contents.append(RAW)


class Case(NamedTuple):
    name: str
    change: Change
    status: str
    said: str


BAD = "INVALID_ARGUMENT"
CASES = [
    Case("no model", setting(model_name=""), "NOT_FOUND", "model"),
    Case("unknown model", setting(model_name="irsi"), "NOT_FOUND", "perhaps iris"),
    Case("unknown version", setting(model_version="9"), "NOT_FOUND", "expected 1"),
    Case("no inputs", many(lambda r: r.ClearField("inputs"), raws()), BAD, "'x' is missing"),
    Case("unknown input", first(name="y"), BAD, "inputs[0].name"),
    Case("input twice", again, BAD, "input given twice"),
    Case("wrong datatype", first(datatype="FP64"), BAD, "inputs[0].datatype: wrong datatype; found FP64"),
    Case("no such datatype", first(datatype="FLOAT"), BAD, "no such datatype"),
    Case("datatype of half a float", first(datatype="BF16"), BAD, "wrong datatype"),
    Case("wrong width", shaped(1, 5), BAD, "inputs[0].shape: wrong shape; found [1, 5]; expected [any, 4]"),
    Case("wrong rank", shaped(4), BAD, "wrong shape"),
    Case("negative size", shaped(-1, 4), BAD, "wrong shape"),
    Case("no rows", many(shaped(0, 4), raws(b"")), BAD, "number of rows"),
    Case("too many rows", shaped(2001, 4), BAD, "1 to 2000"),
    Case("rows beyond memory", shaped(2**62, 4), BAD, "number of rows"),
    Case("raw too short", raws(RAW[:-1]), BAD, "found 15 bytes; expected 16 bytes"),
    Case("raw too long", raws(RAW + b"\0"), BAD, "found 17 bytes; expected 16 bytes"),
    Case("raw for more rows than said", raws(RAW * 2), BAD, "raw_input_contents[0]"),
    Case("raw for more inputs than given", raws(RAW, RAW), BAD, "found 2 elements; expected 1"),
    Case("no data", raws(), BAD, "no data"),
    Case(
        "both contents", lambda r: r.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4]), BAD,
        "inputs[0]: data twice; found contents and raw_input_contents",
    ),
    Case("too few typed", typed(fp32_contents=[1, 2, 3]), BAD, "inputs[0].contents: number of elements"),
    Case("typed in another field", typed(fp64_contents=[1, 2, 3, 4]), BAD, "expected fp32_contents"),
    Case("typed in two fields", typed(fp32_contents=[1, 2, 3, 4], int_contents=[1]), BAD, "found int_contents"),
    Case("half floats typed", typed("FP16"), BAD, "inputs[0].datatype"),
    Case("fractions for whole numbers", sums({"fp32_contents": [1.5] * 16}), BAD, "found fp32_contents"),
    Case("a value out of range", small, BAD, "inputs[0]"),
    Case("unknown output", outputs("labels"), BAD, "outputs[0].name: no such output; found 'labels'"),
    Case("output twice", outputs("label", "label"), BAD, "output asked for twice"),
    Case("classes below one", outputs("probabilities", classification=0), BAD, "at least 1"),
    Case("shared memory", parameter("shared_memory_region", "string", "r"), BAD, "shared memory"),
    Case("a sequence", parameter("sequence_id", "int64", 7), BAD, "keep no state"),
    Case("a timeout of text", parameter("timeout", "string", "soon"), BAD, "parameters.timeout"),
    Case("a timeout that is over", parameter("timeout", "int64", 1), "DEADLINE_EXCEEDED", "deadline"),
]  # fmt: skip


@pytest.fixture(scope="module")
def call(target: str, served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel.unary_unary(INFER)


def refused(call: Any, body: bytes, metadata: Any, **options: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call(body, metadata=metadata, timeout=options.pop("timeout", 30), **options)
    return caught.value


def succeeds(call: Any, metadata: Any) -> None:
    """A good request is answered: whatever came before did no harm."""
    answer = RESPONSE.FromString(call(good().SerializeToString(), metadata=metadata, timeout=30))
    assert [output.name for output in answer.outputs] == ["label", "probabilities"]
    assert struct.unpack("<q", answer.raw_output_contents[0]) == (0,)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_requests(call: Any, admin: dict[str, str], case: Case) -> None:
    """The status says what to do, the details name the place; the next request is answered."""
    metadata = tuple(admin.items())
    request = good()
    case.change(request)
    error = refused(call, request.SerializeToString(), metadata)
    assert (error.code().name, case.said in error.details()) == (case.status, True), error.details()
    trailing = dict(error.trailing_metadata())
    assert trailing["x-request-id"]
    assert trailing["x-error-code"]
    succeeds(call, metadata)


@pytest.mark.parametrize(
    ("name", "body"),
    [("no protobuf", b"\xff\xff\xff"), ("half a message", good().SerializeToString()[:-3]), ("text", b"hello")],
)
def test_messages_that_cannot_be_read(call: Any, admin: dict[str, str], name: str, body: bytes) -> None:
    """Not a message of the protocol."""
    error = refused(call, body, tuple(admin.items()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "message cannot be read" in error.details()
    succeeds(call, tuple(admin.items()))


@pytest.mark.parametrize(
    ("name", "metadata", "status"),
    [
        ("no key", (), "UNAUTHENTICATED"),
        ("no bearer", (("authorization", "Basic abc"),), "UNAUTHENTICATED"),
        ("no such key", (("authorization", "Bearer kn_unknown_key"),), "UNAUTHENTICATED"),
        ("a page of elsewhere", (("origin", "http://evil.example"),), "PERMISSION_DENIED"),
    ],
)
def test_bad_metadata(call: Any, admin: dict[str, str], name: str, metadata: Any, status: str) -> None:
    """Who may not ask learns nothing else."""
    error = refused(call, good().SerializeToString(), metadata)
    assert error.code().name == status
    succeeds(call, tuple(admin.items()))


def test_a_priority_that_there_is_none_of(call: Any, admin: dict[str, str]) -> None:
    """The metadata `x-priority` means what the header means over HTTP: a level that there is, or a refusal."""
    error = refused(call, good().SerializeToString(), (*admin.items(), ("x-priority", "urgent")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "x-priority" in error.details()
    metadata = (*admin.items(), ("x-priority", "low"))
    assert call(good().SerializeToString(), metadata=metadata, timeout=30)


def test_a_timeout_in_metadata_that_is_none(call: Any, admin: dict[str, str]) -> None:
    """As the header of that name over HTTP."""
    error = refused(call, good().SerializeToString(), (*admin.items(), ("x-request-timeout-ms", "soon")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "x-request-timeout-ms" in error.details()


def test_binary_metadata_for_a_key(call: Any, admin: dict[str, str]) -> None:
    """Unknown metadata, also binary, is let pass."""
    metadata = (*admin.items(), ("x-other-bin", b"\x00\xff"), ("x-other", "y"))
    assert call(good().SerializeToString(), metadata=metadata, timeout=30)


def test_a_huge_message(call: Any, admin: dict[str, str]) -> None:
    """Above `server.max_body_bytes` it is not read at all."""
    error = refused(call, bytes(64 * 1024 * 1024 + 1), tuple(admin.items()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    succeeds(call, tuple(admin.items()))


def test_an_expired_deadline(call: Any, admin: dict[str, str]) -> None:
    """The caller's own deadline; an answer may be faster than the timer of the caller's library, though."""

    def late() -> Any:
        try:
            call(good().SerializeToString(), metadata=tuple(admin.items()), timeout=0)
        except grpc.RpcError as error:
            return error
        return None

    assert until(late, "a call comes too late").code() is grpc.StatusCode.DEADLINE_EXCEEDED
    succeeds(call, tuple(admin.items()))


def test_a_method_that_nobody_has(target: str, admin: dict[str, str]) -> None:
    """The services that there are are named."""
    with grpc.insecure_channel(target) as channel:
        error = refused(channel.unary_unary("/inference.GRPCInferenceService/Other"), b"", tuple(admin.items()))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "inference.GRPCInferenceService" in error.details()


def test_typed_contents_are_answered_typed(call: Any, admin: dict[str, str]) -> None:
    """Who sends typed contents reads typed contents."""
    request = good()
    typed(fp32_contents=[5.1, 3.5, 1.4, 0.2])(request)
    request.id = "mine"
    answer = RESPONSE.FromString(call(request.SerializeToString(), metadata=tuple(admin.items()), timeout=30))
    assert list(answer.outputs[0].contents.int64_contents) == [0]
    assert sum(answer.outputs[1].contents.fp32_contents) == pytest.approx(1)
    assert list(answer.outputs[1].shape) == [1, 3]
    assert not answer.raw_output_contents
    assert (answer.model_name, answer.model_version, answer.id) == ("iris", "1", "mine")


def test_ids_and_traces_come_back(call: Any, admin: dict[str, str]) -> None:
    """The request's id under which it is recorded is in the trailing metadata."""
    _, done = call.with_call(
        good().SerializeToString(), metadata=(*admin.items(), ("x-request-id", "given-1")), timeout=30
    )
    assert dict(done.trailing_metadata())["x-request-id"] == "given-1"

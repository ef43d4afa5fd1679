"""Requests that both doors must answer alike: what is wrong with each, and what the answer has to say.

`{key}`, `{reader}` and `{poor}` in a request stand for API keys.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any, NamedTuple

API = "/api/v1/models/flowers/predict"
V2 = "/v2/models/flowers/infer"
ROW: dict[str, Any] = {"length": 5.1, "width": None, "petals": 1.4, "colour": "blue"}
GOOD: dict[str, Any] = {"features": ROW}
CELLS = [5.1, 3.5, 1.4, 1]


class Case(NamedTuple):
    """One request and its answer: the status, words of the body, and whether both doors say it in the same bytes."""

    name: str
    raw: bytes
    status: int
    words: tuple[str, ...] = ()
    same: bool = True
    """False where only uvicorn's own parser answers at the other door."""
    head_only: bool = False
    stays: bool = True
    """False when the connection cannot be used again."""


def http(
    body: bytes | object = b"",
    *lines: str,
    target: str = API,
    method: str = "POST",
    version: str = "1.1",
    key: str | None = "key",
    host: str | None = "127.0.0.1",
    length: str | None = None,
) -> bytes:
    """A request as bytes; a body that is not bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        head.append(f"host: {host}")
    if key is not None:
        head.append(f"authorization: Bearer {{{key}}}")
    if length != "":
        head.append(f"content-length: {len(raw) if length is None else length}")
    return "\r\n".join([*head, *lines, "", ""]).encode() + raw


def chunked(*chunks: bytes, target: str = API) -> bytes:
    head = http(b"", "transfer-encoding: chunked", target=target, length="")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def features(**changes: Any) -> bytes:
    return http({"features": {**ROW, **changes}})


def without(name: str) -> bytes:
    return http({"features": {k: v for k, v in ROW.items() if k != name}})


def text(body: str) -> bytes:
    return http(body.encode())


def x(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": CELLS, **changes}


def v2(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return http({"inputs": list(inputs), **fields}, target=V2)


def binary(blob: bytes, size: object = 16, length: str | None = None, **changes: Any) -> bytes:
    one = {k: v for k, v in x(**changes).items() if k != "data"} | {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [one]}).encode()
    declared = str(len(head)) if length is None else length
    return http(head + blob, f"inference-header-content-length: {declared}", target=V2)


def zipped(body: bytes, *lines: str) -> bytes:
    return http(body, "content-encoding: gzip", *lines)


FLOATS = b"\0\0\x80\x3f" * 3 + b"\0\0\0\0"
RAW = json.dumps(GOOD).encode()
BOMB = gzip.compress(b" " * 5_000_000, mtime=0)
PAIR = "/api/v1/models/pair/predict"
WORDS = "/api/v1/models/words/predict"

GOOD_CASES = [
    Case("features", http(GOOD), 200, ('"prediction":"a"', '"confidence":0.', '"model":"flowers"')),
    Case("features in order", http({"features": [5.1, 3.5, 1.4, "red"]}), 200, ('"prediction":"a"',)),
    Case("a nullable feature left out", without("width"), 200, ('"prediction"',)),
    Case("instances", http({"instances": [ROW, [1, 2, 3, "red"]]}), 200, ('"predictions":[{', '},{"prediction"')),
    Case("a version", http(GOOD, target="/api/v1/models/flowers/versions/next/predict"), 200, ('"version":"next"',)),
    Case("by number", http(GOOD, target="/api/v1/models/1/predict"), 200, ('"model":"flowers"',)),
    Case("an escaped name", http(GOOD, target="/api/v1/models/%66lo%77ers/predict"), 200, ('"model":"flowers"',)),
    Case("a query", http(GOOD, target=API + "?at=now"), 200, ('"prediction"',)),
    Case("an absolute target", http(GOOD, target="http://127.0.0.1" + API), 200, ('"prediction"',)),
    Case("of duplicate keys the last", text('{"features":[1,1,1,"red"],"features":[9,9,1,"blue"]}'), 200, ('"a"',)),
    Case("chunked", chunked(RAW[:9], RAW[9:10], RAW[10:]), 200, ('"prediction"',)),
    Case("gzip", zipped(gzip.compress(RAW, mtime=0)), 200, ('"prediction"',)),
    Case("deflate", http(zlib.compress(RAW), "content-encoding: deflate"), 200, ('"prediction"',)),
    Case("identity", http(RAW, "content-encoding: identity"), 200, ('"prediction"',)),
    Case("JSON with parameters", http(RAW, "content-type: application/json; charset=utf-8"), 200),
    Case("another JSON type", http(RAW, "content-type: application/vnd.x+json"), 200),
    Case("Expect", http(RAW, "expect: 100-continue"), 200, ('"prediction"',)),
    Case("a given id", http(RAW, "x-request-id: abc-1"), 200, ('"request_id":"abc-1"',)),
    Case("an unusable id", http(RAW, 'x-request-id: a"b'), 200, ('"request_id":"the-same-id"',)),
    Case("a trace", http(RAW, "traceparent: 00-abc-def-01"), 200, ('"prediction"',)),
    Case("a deadline", http(RAW, "x-request-timeout-ms: 2000"), 200, ('"prediction"',)),
    Case("HTTP/1.0", http(RAW, version="1.0"), 200, ('"prediction"',), stays=False),
    Case("HTTP/1.0 without Host", http(RAW, version="1.0", host=None), 200, ('"prediction"',), stays=False),
    Case("Connection: close", http(RAW, "connection: close"), 200, ('"prediction"',), stays=False),
    Case("its own Origin", http(RAW, "origin: http://127.0.0.1"), 200, ('"prediction"',)),
    Case("two inputs", http({"features": {"a": [1, 2], "b": [3, 4]}}, target=PAIR), 200, ("[4,6]",)),
    Case("texts", http({"features": ["a\0", "é"]}, target=WORDS), 200, ('"a\\u0000"', "é")),
    Case("v2", v2(x()), 200, ('"outputs"', '"probabilities"')),
    Case("v2 with an id", v2(x(), id="seven"), 200, ('"id":"seven"',)),
    Case("v2 binary", binary(FLOATS), 200, ('"outputs"',)),
    Case("v2 version", http({"inputs": [x()]}, target="/v2/models/flowers/versions/next/infer"), 200, ('"next"',)),
    Case("v2 one output", v2(x(), outputs=[{"name": "label"}]), 200, ('"label"',)),
]

_BODY = '"where":"body"'
_DEEP = "[" * 100_0

API_CASES = [
    # the JSON itself
    Case("an empty body", http(), 400, (_BODY,)),
    Case("no body", http(length=""), 400, (_BODY,)),
    Case("no JSON", text("features=1"), 400, (_BODY, "malformed")),
    Case("ends early", text('{"features":{"length":1'), 400, (_BODY, "truncated")),
    Case("trailing bytes", http(RAW + b"}"), 400, (_BODY,)),
    Case("two documents", http(RAW + RAW), 400, (_BODY,)),
    Case("not UTF-8", http(b'{"features":{"colour":"\xff"}}'), 400, (_BODY, "UTF-8", "0xff")),
    Case("half a surrogate", http(b'{"features":[1,2,3,"\\ud800"]}'), 400, (_BODY,)),
    Case("a BOM", http(b"\xef\xbb\xbf" + RAW), 400, (_BODY,)),
    Case("UTF-16", http(json.dumps(GOOD).encode("utf-16")), 400, (_BODY,)),
    Case("a list", text("[]"), 400, (_BODY, '"found":"array"', '"expected":"object"')),
    Case("null", text("null"), 400, (_BODY, '"found":"null"')),
    Case("a number", text("7"), 400, (_BODY, '"found":"int"')),
    Case("nested deeply", http(b'{"features":' + b"[" * 10_000), 400, ('"where":',)),
    Case("nested deeply and closed", http(b'{"x":' + b"[" * 9_000 + b"]" * 9_000 + b"}"), 400, (_BODY,)),
    Case("an unknown member", text('{"features":[1,2,3,"red"],"x":1}'), 400, ("unknown field", "`x`")),
    # what is asked
    Case("neither", text("{}"), 400, (_BODY, "nothing to predict", "instances")),
    Case("both", http({"features": ROW, "instances": [ROW]}), 400, (_BODY, "both given", "one of them")),
    Case("features null", text('{"features":null}'), 400, ('"where":"features"', '"found":"null"')),
    Case("no instances", text('{"instances":[]}'), 400, ('"where":"instances"', '"found":"0"', "1 to 50")),
    Case("too many rows", http({"instances": [[1, 2, 3, "red"]] * 51}), 413, ('"where":"instances"', '"found":"51"')),
    Case("instances an object", text('{"instances":{}}'), 400, ('"where":"instances"', '"found":"object"')),
    Case("an instance null", http({"instances": [ROW, None]}), 400, ('"where":"instances[1]"', "null")),
    # rows
    Case("a feature missing", without("petals"), 400, ('"where":"features"', "petals")),
    Case("an unknown feature", features(petal=1), 400, ('"where":"features"', "`petal`")),
    Case("null where it may not be", features(length=None), 400, ("features.length", '"found":"null"', "float")),
    Case("a string for a number", features(length="5.1"), 400, ("features.length", '"found":"str"', "float")),
    Case("a boolean for a number", features(length=True), 400, ("features.length", '"found":"bool"')),
    Case("a list for a number", features(length=[1]), 400, ("features.length", '"found":"array"')),
    Case("a number for a category", features(colour=1), 400, ("features.colour", '"found":"int"', "str")),
    Case("an unknown category", features(colour="green"), 400, ("features.colour", "'green'", "red, blue")),
    Case("NaN is no JSON", text('{"features":[NaN,1,1,"red"]}'), 400, (_BODY,)),
    Case("Infinity is no JSON", text('{"features":[-Infinity,1,1,"red"]}'), 400, (_BODY,)),
    Case("beyond FP32", features(length=1e39), 400, ("features.length", "out of range", "1e+39", "FP32")),
    Case("beyond FP64", text('{"features":[1e999,1,1,"red"]}'), 400, ("out of range",)),
    Case("a huge integer", text('{"features":[' + "9" * 400 + ',1,1,"red"]}'), 400, ("out of range",)),
    Case("too few cells", http({"features": [1, 2, 3]}), 400, ('"where":"features"', "length 4")),
    Case("too many cells", http({"features": [1, 2, 3, "red", 5]}), 400, ('"where":"features"', "length 4")),
    Case("ragged rows", http({"instances": [[1, 2, 3, "red"], [1, 2, 3]]}), 400, ('"where":"instances[1]"',)),
    Case(
        "a bad row among good ones", http({"instances": [ROW, {**ROW, "length": "x"}]}), 400, ("instances[1].length",)
    ),
    Case(
        "a bad value among good rows",
        http({"instances": [ROW, {**ROW, "petals": -1e39}]}),
        400,
        ("instances[1].petals",),
    ),
    # tensors
    Case("an input missing", http({"features": {"a": [1, 2]}}, target=PAIR), 400, ('"where":"features"', "`b`")),
    Case("a wrong shape", http({"features": {"a": [1], "b": [1, 2]}}, target=PAIR), 400, ("features.a", "[2]")),
    Case("too deep", http({"features": {"a": [[1, 2]], "b": [1, 2]}}, target=PAIR), 400, ("features.a[0]",)),
    Case("a fraction", http({"features": {"a": [1.5, 2], "b": [1, 2]}}, target=PAIR), 400, ("features.a[0]",)),
    Case(
        "beyond INT32",
        http({"features": {"a": [2**31, 2], "b": [1, 2]}}, target=PAIR),
        400,
        ("features.a", "INT32"),
    ),
    Case(
        "instances of different shapes",
        http({"instances": [{"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "b": [1]}]}, target=PAIR),
        400,
        ("instances[1].b",),
    ),
    Case("a number for a text", http({"features": ["a", 1]}, target=WORDS), 400, ("features[1]", '"found":"int"')),
    # headers
    Case("form data", http(RAW, "content-type: application/x-www-form-urlencoded"), 415, ("content-type",)),
    Case("plain text", http(RAW, "content-type: text/plain"), 415, ("content-type", "text/plain")),
    Case("octets", http(RAW, "content-type: application/octet-stream"), 415, ("content-type",)),
    Case("an empty type", http(RAW, "content-type: "), 415, ("content-type",)),
    Case("an unknown encoding", http(RAW, "content-encoding: br"), 415, ("content-encoding", '"found":"br"')),
    Case("gzip that is none", zipped(RAW), 400, (_BODY, "gzip")),
    Case("gzip that ends early", zipped(gzip.compress(RAW, mtime=0)[:-9]), 400, (_BODY, "ends early")),
    Case("gzip with a wrong sum", zipped(gzip.compress(RAW, mtime=0)[:-8] + b"\0" * 8), 400, (_BODY, "gzip")),
    Case("bytes behind gzip", zipped(gzip.compress(RAW, mtime=0) + b"more"), 400, (_BODY,)),
    Case("a gzip bomb", zipped(BOMB), 413, (_BODY, "decompression")),
    Case("a deadline of words", http(RAW, "x-request-timeout-ms: soon"), 400, ("x-request-timeout-ms", "soon")),
    Case("a deadline of nothing", http(RAW, "x-request-timeout-ms: 0"), 400, ("x-request-timeout-ms",)),
    Case("a negative deadline", http(RAW, "x-request-timeout-ms: -5"), 400, ("x-request-timeout-ms",)),
    Case("a deadline of NaN", http(RAW, "x-request-timeout-ms: nan"), 400, ("x-request-timeout-ms",)),
    Case("an infinite deadline", http(RAW, "x-request-timeout-ms: inf"), 400, ("x-request-timeout-ms",)),
    # who asks
    Case("no key", http(GOOD, key=None), 401, ("Authorization", '"code":"unauthenticated"')),
    Case("no key, a given id", http(GOOD, "x-request-id: mine", key=None), 401, ('"request_id":"mine"',)),
    Case("another scheme", http(GOOD, "authorization: Basic eDp5", key=None), 401, ("Authorization", "Bearer")),
    Case("an unknown key", http(GOOD, "authorization: Bearer kn_nobody_x", key=None), 401, ("Authorization",)),
    Case("an empty key", http(GOOD, "authorization: ", key=None), 401, ("Authorization",)),
    Case("a key that is not ASCII", http(GOOD, "authorization: Bearer ключ", key=None), 401, ("Authorization",)),
    Case("no scope", http(GOOD, key="reader"), 403, ('"where":"flowers"', "predict:flowers")),
    Case("a scope for another model", http({"features": {"a": [1, 2], "b": [1, 2]}}, target=PAIR, key="poor"), 403),
    Case("more rows than the burst", http({"instances": [ROW] * 3}, key="poor"), 413, ('"where":"rows"', "at most 2")),
    Case("a foreign Host", http(GOOD, host="evil.example"), 403, ('"where":"Host"', "evil.example"), stays=False),
    Case("a malformed Host", http(GOOD, host="a b"), 400, ('"where":"Host"',), stays=False),
    Case("no Host", http(GOOD, host=None), 400, ('"where":"Host"',), stays=False),
    Case("two Hosts", http(GOOD, "host: 127.0.0.1"), 400, ('"where":"Host"',), stays=False),
    Case("a foreign Origin", http(GOOD, "origin: https://evil.example"), 403, ('"where":"Origin"',), stays=False),
    # what is named
    Case("an unknown model", http(GOOD, target="/api/v1/models/flower/predict"), 404, ("perhaps flowers",)),
    Case(
        "an unknown model, a given id",
        http(GOOD, "x-request-id: mine", target="/api/v1/models/flower/predict"),
        404,
        ('"request_id":"mine"',),
    ),
    Case("an unknown number", http(GOOD, target="/api/v1/models/999/predict"), 404, ('"found":"999"',)),
    Case("an unknown version", http(GOOD, target="/api/v1/models/flowers/versions/9/predict"), 404, ("1, next",)),
    Case("an empty name", http(GOOD, target="/api/v1/models//predict"), 404, ('"code":"not_found"',)),
    Case("a name that is not UTF-8", http(GOOD, target="/api/v1/models/%ff/predict"), 404, ('"code":"not_found"',)),
    Case("an escaped slash", http(GOOD, target="/api/v1/models/a%2Fb/predict"), 404, ('"code":"not_found"',)),
    Case("an unknown model without a key", http(GOOD, target="/api/v1/models/flower/predict", key=None), 401),
    Case("an unknown resource", http(GOOD, target="/api/v1/models/flowers/guess"), 404, ('"code":"not_found"',)),
    Case("GET", http(method="GET"), 405, ('"where":"method"', "POST")),
    Case("PUT", http(GOOD, method="PUT"), 405, ('"where":"method"', "POST")),
    Case("HEAD", http(method="HEAD", length=""), 405, (), head_only=True),
    # sizes
    Case("a huge body", http(b" " * 20_001), 413, (_BODY, "20000"), stays=False),
    Case("a huge body, a given id", http(b" " * 20_001, "x-request-id: m"), 413, ('"request_id":"m"',), stays=False),
    Case("a huge chunked body", chunked(*[b" " * 5_000] * 5), 413, (_BODY, "20000"), stays=False),
]

V2_CASES = [
    Case("v2 empty", http(target=V2), 400, ("body",)),
    Case("v2 no JSON", http(b"{", target=V2), 400, ("body",)),
    Case("v2 not UTF-8", http(b'{"id":"\xff"}', target=V2), 400, ("UTF-8",)),
    Case("v2 nested deeply", http(b'{"x":' + b"[" * 9_000, target=V2), 400, ("body",)),
    Case("v2 no inputs", http({}, target=V2), 400, ("inputs",)),
    Case("v2 unknown input", v2(x(name="y")), 400, ("inputs[0].name", "expected x")),
    Case("v2 input twice", v2(x(), x()), 400, ("inputs[1].name", "twice")),
    Case("v2 wrong datatype", v2(x(datatype="INT8")), 400, ("inputs[0].datatype", "INT8", "FP32")),
    Case("v2 no such datatype", v2(x(datatype="FLOAT")), 400, ("inputs[0].datatype", "FLOAT")),
    Case("v2 wrong shape", v2(x(shape=[1, 5])), 400, ("inputs[0].shape", "[any, 4]")),
    Case("v2 negative shape", v2(x(shape=[-1, 4])), 400, ("inputs[0].shape",)),
    Case("v2 no rows", v2(x(shape=[0, 4], data=[])), 400, ("inputs[0].shape[0]",)),
    Case("v2 huge shape", v2(x(shape=[2**62, 4])), 413, ("inputs[0].shape[0]",)),
    Case("v2 too many rows", v2(x(shape=[51, 4], data=CELLS * 51)), 413, ("1 to 50",)),
    Case("v2 too little data", v2(x(data=[1, 2])), 400, ("inputs[0].data", "2 elements")),
    Case("v2 ragged", v2(x(shape=[2, 4], data=[CELLS, [1]])), 400, ("inputs[0].data[1]",)),
    Case("v2 a string", v2(x(data=["1", 2, 3, 0])), 400, ("inputs[0].data[0]", "str")),
    Case("v2 null", v2(x(data=[None, 2, 3, 0])), 400, ("length",)),
    Case("v2 no such category", v2(x(data=[1, 2, 3, 7])), 400, ("colour", "red, blue")),
    Case("v2 beyond FP32", v2(x(data=[1e39, 2, 3, 0])), 400, ("FP32",)),
    Case("v2 no data", v2({"name": "x", "shape": [1, 4], "datatype": "FP32"}), 400, ("inputs[0]",)),
    Case("v2 unknown output", v2(x(), outputs=[{"name": "y"}]), 400, ("outputs[0]",)),
    Case("v2 shared memory", v2(x(parameters={"shared_memory_region": "r"})), 400, ("shared",)),
    Case("v2 binary truncated", binary(FLOATS[:10]), 400, ("binary_data_size",)),
    Case("v2 binary oversized", binary(FLOATS + b"more"), 400, ("4 bytes more",)),
    Case("v2 binary of another size", binary(FLOATS[:12], 12), 400, ("inputs[0]", "16 bytes")),
    Case("v2 binary size negative", binary(FLOATS, -16), 400, ("binary_data_size",)),
    Case("v2 binary size a string", binary(FLOATS, "16"), 400, ("binary_data_size",)),
    Case("v2 binary NaN", binary(b"\0\0\xc0\x7f" * 4), 400, ("length",)),
    Case("v2 header length beyond", binary(FLOATS, length="9999"), 400, ("inference-header-content-length",)),
    Case("v2 header length negative", binary(FLOATS, length="-1"), 400, ("inference-header-content-length",)),
    Case("v2 header length of words", binary(FLOATS, length="ten"), 400, ("inference-header-content-length",)),
    Case("v2 header length short", binary(FLOATS, length="5"), 400, ("body",)),
    Case("v2 wrong type", http({"inputs": [x()]}, "content-type: text/plain", target=V2), 415, ("content-type",)),
    Case("v2 wrong encoding", http({"inputs": [x()]}, "content-encoding: br", target=V2), 415, ("content-encoding",)),
    Case("v2 unknown model", http({"inputs": [x()]}, target="/v2/models/flower/infer"), 404, ("perhaps flowers",)),
    Case("v2 unknown version", http({"inputs": [x()]}, target="/v2/models/flowers/versions/9/infer"), 404, ("next",)),
    Case("v2 no key", http({"inputs": [x()]}, target=V2, key=None), 401, ("Authorization",)),
    Case("v2 no scope", http({"inputs": [x()]}, target=V2, key="reader"), 403, ("predict:flowers",)),
    Case("v2 deadline", http({"inputs": [x()]}, "x-request-timeout-ms: x", target=V2), 400, ("x-request-timeout-ms",)),
    Case("v2 foreign Host", http({"inputs": [x()]}, target=V2, host="evil.example"), 403, ("Host",), stays=False),
    Case("v2 huge body", http(b" " * 20_001, target=V2), 413, ("body",), stays=False),
    Case("v2 GET", http(method="GET", target=V2), 405, ("POST",)),
    Case("v2 unknown resource", http(target="/v2/models/flowers/guess"), 404),
]

_LINES = [f"x-{i}: y" for i in range(60)]

PARSER_CASES = [
    Case("no HTTP", b"hello\r\n\r\n", 400, same=False, stays=False),
    Case("no such method", http(RAW, method="GUESS"), 400, same=False, stays=False),
    Case("HTTP/3.0", http(RAW, version="3.0"), 400, same=False, stays=False),
    Case("a space in the target", http(RAW, target="/api/v1 /x"), 400, same=False, stays=False),
    Case("a target that is no URL", http(RAW, target="http://[::1/x"), 400, same=False, stays=False),
    Case("a header without a colon", http(RAW, "hello"), 400, same=False, stays=False),
    Case("a space before the colon", http(RAW, "x : y"), 400, same=False, stays=False),
    Case("an empty header name", http(RAW, ": y"), 400, same=False, stays=False),
    Case("a control character", http(RAW, "x: a\x01b"), 400, same=False, stays=False),
    Case("a null in a header", http(RAW, "x: a\0b"), 400, same=False, stays=False),
    Case("a length of words", http(RAW, length="ten"), 400, same=False, stays=False),
    Case("a negative length", http(RAW, length="-1"), 400, same=False, stays=False),
    Case("a length with a sign", http(RAW, length="+5"), 400, same=False, stays=False),
    Case("an endless length", http(RAW, length="9" * 40), 400, same=False, stays=False),
    Case("an empty length", http(b"", length=" "), 400, same=False, stays=False),
    Case("two lengths", http(RAW, "content-length: 3"), 400, same=False, stays=False),
    Case("a length and chunks", http(RAW, "transfer-encoding: chunked"), 400, same=False, stays=False),
    Case("a bad chunk", chunked()[:-5] + b"xyz\r\n", 400, same=False, stays=False),
    Case("an unknown transfer coding", http(b"", "transfer-encoding: zip", length=""), 400, same=False, stays=False),
    Case("too many headers", http(RAW, *_LINES), 431, same=False, stays=False),
    Case("too large a header", http(RAW, "x: " + "y" * 9_000), 431, same=False, stays=False),
    Case("too long a target", http(RAW, target=API + "?" + "y" * 9_000), 431, same=False, stays=False),
]

"""The ways to make an ONNX file smaller or faster, each with onnxruntime's own tools.

Sources: https://onnxruntime.ai/docs/performance/model-optimizations/ (graph-optimizations, quantization, float16).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaname.errors import InvalidInput, MissingDependency, ModelFailed
from kaname.models.importing.types import Method, Tensors

QUANTISABLE = ("MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "Attention", "EmbedLayerNormalization")
QUANTISED = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
HALF = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
"""Providers that compute in half precision; the processor's converts there and back, which is slower."""


def optimize(method: Method, source: Path, target: Path, calibration: Tensors | None, names: tuple[str, ...]) -> None:
    """Write the optimised form of `source` to `target`. `calibration` are rows in the order of the inputs `names`.

    Raises MissingDependency without the onnx library, InvalidInput where the method has no use for the model.
    """
    try:
        import onnx  # noqa: F401  (what the tools below need, asked for once)
    except ImportError as error:
        raise MissingDependency.of("onnx", "onnx", "optimising models") from error
    rows = None if calibration is None else list(zip(names, calibration, strict=True))
    try:
        if method == "graph":
            _graph(source, target)
        elif method == "float16":
            _float16(source, target)
        else:
            _must_have(source, QUANTISABLE)
            _dynamic(source, target) if rows is None else _static(source, target, rows)
    except (InvalidInput, MissingDependency):
        raise
    except Exception as error:  # the tools raise whatever they like
        raise ModelFailed(f"onnxruntime cannot make a model of method {method!r}: {error}") from error


def _graph(source: Path, target: Path) -> None:
    """Loading a file that was rewritten once is faster; what depends on the very processor stays for the load."""
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _onnxruntime() -> Any:
    import onnxruntime

    import kaname.runtimes.onnx  # noqa: F401  (turns the vendor's telemetry off before the first import)

    return onnxruntime


def _float16(source: Path, target: Path) -> None:
    there = _onnxruntime().get_available_providers()
    if not any(one in there for one in HALF):
        raise InvalidInput(
            "no device here computes in half precision: the result would only be slower",
            where="float16", found=", ".join(there), expected=" or ".join(HALF),
        )  # fmt: skip
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _dynamic(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    _must_have(target, QUANTISED)


def _static(source: Path, target: Path, rows: list[tuple[str, Any]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Rows(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """One row after the other."""

        def __init__(self) -> None:
            self._rows = _one_by_one(rows)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rows, None)

    plain = target.with_suffix(".plain.onnx")
    quant_pre_process(source, plain, skip_symbolic_shape=True)
    try:
        quantize_static(
            plain, target, Rows(), quant_format=QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8
        )
    finally:
        plain.unlink(missing_ok=True)
    _must_have(target, QUANTISED)


def _one_by_one(rows: list[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    for i in range(len(rows[0][1])):
        yield {name: array[i : i + 1] for name, array in rows}


def _must_have(file: Path, kinds_of: tuple[str, ...]) -> None:
    """Refuse a model without any of some operations."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    if not any(node.op_type in kinds_of for node in model.graph.node):
        kinds = sorted({node.op_type for node in model.graph.node})
        raise InvalidInput(
            "nothing in this model can be quantised",
            where="int8", found=", ".join(kinds)[:200], expected="matrix products or convolutions of constants",
        )  # fmt: skip

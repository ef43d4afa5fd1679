"""PyTorch: exported programs (`.pt2`) and TorchScript, for what ONNX Runtime cannot run as they do.

The only module that imports torch. `auto` is the first CUDA device where PyTorch finds one, else the processor.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kaname.errors import CorruptData, InvalidInput, MissingDependency, Unavailable
from kaname.runtimes.devices import full
from kaname.runtimes.named import DATATYPES
from kaname.runtimes.types import SessionOptions
from kaname.settings import Device
from kaname.signature import OutputSpec, Signature
from kaname.tensors import NUMPY_OF, Datatype, Tensor, TensorSpec


class Program(Protocol):
    """A callable out of torch, under the names of its inputs."""

    names: tuple[str, ...]

    @property
    def dtypes(self) -> Mapping[str, Any] | None:
        """The dtype of each input, unless those of the signature will do."""

    def __call__(self, tensors: Sequence[Any]) -> Any:
        """The answer, nested as the program nests it, to one tensor per name."""


class ExportedProgram:
    """A `.pt2` file: a graph of operators with the sizes and types of what it takes and gives."""

    def __init__(self, exported: Any) -> None:
        self.exported = exported
        self._tree = library().utils._pytree
        self._leaves: list[Any] = []
        self._places: list[int] = []
        names: list[str] = []
        for spec in exported.graph_signature.input_specs:
            if spec.kind.name == "USER_INPUT":
                self._take(spec.arg, names)
        self.names = tuple(names)
        self._values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
        self._module = exported.module()

    def _take(self, argument: Any, names: list[str]) -> None:
        if hasattr(argument, "value"):  # a constant that the export has fixed
            self._leaves.append(argument.value)
            return
        self._places.append(len(self._leaves))
        self._leaves.append(None)
        names.append(str(argument.name))

    def __call__(self, tensors: Sequence[Any]) -> Any:
        """See `Program`."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = self._tree.tree_unflatten(leaves, self.exported.call_spec.in_spec)
        return self._module(*args, **kwargs)

    @property
    def dtypes(self) -> dict[str, Any]:
        """The dtype of each input."""
        return {name: self._values[name].dtype for name in self.names}

    def describe(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs as the graph declares them; -1 for sizes that vary. Raises InvalidInput."""
        inputs = tuple(spec_of(name, self._values[name]) for name in self.names)
        given = [self._values.get(name) for name in self.exported.graph_signature.user_outputs]
        nested = self._tree.tree_unflatten(given, self.exported.call_spec.out_spec)
        return inputs, tuple(spec_of(name, value) for name, value in named_outputs(nested).items())


class Script:
    """A TorchScript archive: a program in TorchScript's own language, which declares names and no sizes."""

    dtypes = None

    def __init__(self, module: Any) -> None:
        self.module = module
        self.names = tuple(
            str(argument.name)
            for argument in module.forward.schema.arguments[1:]
            if argument.type.kind() == "TensorType"
        )

    def __call__(self, tensors: Sequence[Any]) -> Any:
        """See `Program`."""
        return self.module(**dict(zip(self.names, tensors, strict=True)))


class PyTorchSession:
    """One program on one device."""

    __slots__ = ("_dtypes", "_order", "_outputs", "_program", "_torch", "device")

    def __init__(self, program: Program, signature: Signature, device: Device = "cpu") -> None:
        """`device`: where the program lies."""
        self._torch = library()
        self._program = program
        self.device = device
        order = [spec.name for spec in signature.inputs]
        if sorted(order) != sorted(program.names):
            raise CorruptData(
                "the program takes other inputs", found=", ".join(program.names), expected=", ".join(order)
            )
        self._order = [order.index(name) for name in program.names]
        dtypes = program.dtypes or {spec.name: dtype_of(spec.datatype) for spec in signature.inputs}
        self._dtypes = [dtypes[name] for name in program.names]
        self._outputs = signature.outputs

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `Session.run`; raises what the program raises, Unavailable where the device is full."""
        try:
            return self._run(inputs)
        except Exception as error:  # a program may raise anything
            refused = full(self.device, error)
            if refused is None:
                raise
            raise refused from error

    def _run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        torch, device = self._torch, self.device
        with torch.inference_mode():
            # Copies: a program may write into what it is given.
            tensors = [
                torch.tensor(inputs[k], dtype=dtype, device=device)
                for k, dtype in zip(self._order, self._dtypes, strict=True)
            ]
            found = named_outputs(self._program(tensors))
        return tuple([to_array(found[spec.name], spec) for spec in self._outputs])

    def close(self) -> None:
        """Forget the program, and give the device back what it took."""
        del self._program
        if self.device != "cpu":
            self._torch.cuda.empty_cache()


class PyTorchRuntime:
    """Opens exported programs."""

    name = "pytorch"

    def begin(self, options: SessionOptions) -> None:
        """See `Beginning.begin`."""
        library().zeros(1, device=device(options.device))

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> PyTorchSession:
        """See `Runtime.open`."""
        place = device(options.device)
        return PyTorchSession(load_exported(path, options.threads, place), signature, place)


class TorchScriptRuntime(PyTorchRuntime):
    """Opens TorchScript archives."""

    name = "torchscript"

    def open(self, path: Path, signature: Signature, options: SessionOptions) -> PyTorchSession:
        """See `Runtime.open`."""
        place = device(options.device)
        return PyTorchSession(load_script(path, options.threads, place), signature, place)


# --- loading --------------------------------------------------------------------------------------------


@functools.cache
def library() -> Any:
    """The library, told to keep to itself. Raises MissingDependency."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependency.of("torch", "pytorch", "running a PyTorch model") from error
    with suppress(RuntimeError):  # once per process, before any parallel work
        torch.set_num_interop_threads(1)
    torch.backends.cudnn.allow_tf32 = False  # a GPU answers as the processor does
    return torch


def device(asked: Device = "auto") -> Device:
    """Where programs run that are to run on `asked`; on CUDA where that is TensorRT, which PyTorch knows nothing of.

    Raises Unavailable.
    """
    there = library().cuda.is_available()
    if asked == "cpu" or (asked == "auto" and not there):
        return "cpu"
    if not there:
        raise Unavailable(
            f"this PyTorch cannot use {asked}", where="inference.device", found="no CUDA device", expected="one"
        )
    return "cuda"


def load_exported(path: Path, threads: int = 1, place: str = "cpu") -> ExportedProgram:
    """The exported program at `path`; reading it can run code that it holds. Raises CorruptData."""
    torch = library()
    torch.set_num_threads(threads)
    exported = _loaded(torch.export.load, path)
    if place != "cpu":
        from torch.export.passes import move_to_device_pass  # a module that torch does not import by itself

        exported = move_to_device_pass(exported, place)
    return ExportedProgram(exported)


def load_script(path: Path, threads: int = 1, place: str = "cpu") -> Script:
    """The TorchScript program at `path`. Raises CorruptData."""
    torch = library()
    torch.set_num_threads(threads)
    return Script(_loaded(functools.partial(torch.jit.load, map_location=place), path).eval())


def _loaded(load: Any, path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load(str(path))
    except Exception as error:  # torch raises anything
        said = f"{type(error).__name__}: {str(error)[:300]}"
        raise CorruptData(f"PyTorch cannot load {path.name}: {said}", where=str(path)) from error


# --- tensors --------------------------------------------------------------------------------------------


def named_outputs(answer: Any) -> dict[str, Any]:
    """The tensors of a nested answer: `output` for a single one, `output_0`, …, or the keys that lead to them."""
    torch = library()
    if isinstance(answer, torch.Tensor):
        return {"output": answer}
    found = {}
    for path, leaf in torch.utils._pytree.tree_flatten_with_path(answer)[0]:
        if isinstance(leaf, torch.Tensor):
            keys = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path]
            found["_".join(["output", *keys] if keys and keys[0].isdigit() else keys)] = leaf
    return found


def spec_of(name: str, value: Any) -> TensorSpec:
    """What is served of a tensor of torch, real or symbolic. Raises InvalidInput."""
    dtype = str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
    if dtype not in DATATYPES:
        raise InvalidInput("this type is not served", where=name, found=dtype, expected="a tensor of numbers")
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec(name=name, datatype=DATATYPES[dtype], shape=shape)


def dtype_of(datatype: Datatype) -> Any:
    """The dtype of torch for a datatype."""
    return getattr(library(), str(NUMPY_OF[datatype]))


def to_array(found: Any, spec: OutputSpec) -> Tensor:
    """A fresh array of the declared datatype."""
    if str(found.dtype) == "torch.bfloat16":
        found = found.float()
    return np.array(found.detach().cpu().numpy(), dtype=NUMPY_OF[spec.datatype], order="C")

"""Python functions of the project as derived columns.

    def late_share(late: np.ndarray, flights: np.ndarray) -> np.ndarray: ...

The parameters name columns (`columns` says how their values come), all of one length; what is returned is a column as
long. A file is examined without running it, and run when a view is opened, or read anew because a file has changed.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from kaname.errors import InvalidInput, KanameError, ModelFailed
from kaname.features.views.columns import CHECKS
from kaname.features.views.types import Column, Columns, Kind
from kaname.runtimes.python import load_module


class Declared(msgspec.Struct, frozen=True):
    """A function in a file, and its parameters."""

    path: Path
    name: str
    parameters: tuple[str, ...]


def declared_function(project: Path, said: str) -> Declared:
    """The function that `file.py:name` names. Raises InvalidInput without a place."""
    file, colon, name = said.partition(":")
    path = project / file
    if not colon or not name.isidentifier() or path.suffix != ".py":
        raise InvalidInput("not the name of a function", found=f"`{said}`", expected="code/file.py:function")
    if not path.resolve().is_relative_to(project.resolve()) or not path.is_file():
        raise InvalidInput("there is no such file", found=f"`{file}`", expected="a file of the project")
    node = _find(path, file, name)
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
        raise InvalidInput("a function whose parameters name no columns", found=f"`{said}`", expected="plain ones")
    return Declared(path, name, tuple(each.arg for each in [*arguments.posonlyargs, *arguments.args]))


def _find(path: Path, file: str, name: str) -> ast.FunctionDef:
    try:
        tree = ast.parse(path.read_bytes(), file)
    except (SyntaxError, ValueError, OSError) as error:
        raise InvalidInput("the file cannot be read", found=f"`{file}`: {error}", expected="Python") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in functions:
        raise InvalidInput(f"no such function in {file}", found=f"`{name}`", expected=" or ".join(functions) or "one")
    return functions[name]


def computed_by(
    function: Declared, kind: Kind, column: str
) -> tuple[Callable[[Columns], Column], Callable[[], Callable[..., object]]]:
    """What computes a column with a function, and what loads its file, at the first use at the latest."""
    lock, loaded = threading.Lock(), list[Callable[..., object]]()

    def load() -> Callable[..., object]:
        with lock:
            if not loaded:
                loaded.append(getattr(load_module(function.path), function.name))
        return loaded[0]

    def compute(columns: Columns) -> Column:
        given = [columns[name] for name in function.parameters]
        try:
            found = (loaded[0] if loaded else load())(*given)
        except KanameError:
            raise
        except Exception as error:
            message = f"{function.name} raised {type(error).__name__}: {error}"
            raise ModelFailed(message, where=column) from error
        return _checked(found, kind, column, len(given[0]))

    return compute, load


def _checked(found: object, kind: Kind, name: str, rows: int) -> Column:
    column = np.asarray(found)
    if column.shape != (rows,):
        raise ModelFailed(
            "the function must return one value per row", where=name, found=str(column.shape), expected=f"({rows},)"
        )
    try:
        return CHECKS[kind](column)
    except (TypeError, ValueError):
        raise ModelFailed(
            "the function returned another type", where=name, found=str(column.dtype), expected=kind
        ) from None

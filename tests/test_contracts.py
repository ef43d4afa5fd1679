"""The rules of the house, checked over the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "kaname"
OPTIONAL = {"lightgbm", "matplotlib", "pandas", "pyarrow", "sklearn", "skl2onnx", "xgboost", "joblib"}
CONVERTERS = "kaname.models.importing"
"""Importers are one module per framework; inside this folder a library may serve several of them."""


def test_the_floors_hold() -> None:
    """import-linter's contracts of pyproject.toml: floors, no circles, a request path without stores."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Top-level packages that `file` imports, and whether that happens when it is imported itself."""
    tree = ast.parse(file.read_text())
    at_import = {id(node) for node in _module_level(tree)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            yield name.partition(".")[0], id(node) in at_import


def _module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        if isinstance(node, ast.Try):
            yield from node.body
        yield node


def _modules() -> Iterator[tuple[str, Path]]:
    for file in SOURCE.rglob("*.py"):
        yield ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts), file


def test_optional_libraries_have_one_adapter_and_are_imported_late() -> None:
    """Each optional library is imported in one module (or the importers), and only when it is used."""
    users: dict[str, set[str]] = defaultdict(set)
    early = []
    for module, file in _modules():
        for name, at_import in _imports(file):
            if name in OPTIONAL:
                users[name].add(CONVERTERS if module.startswith(CONVERTERS) else module)
                early += [f"{module} imports {name} at once"] * at_import
    assert early == []
    assert {name: sorted(modules) for name, modules in users.items() if len(modules) > 1} == {}


def test_onnxruntime_is_imported_where_its_telemetry_is_switched_off() -> None:
    """Only the ONNX runtime's module may import onnxruntime when it is imported; the variable is set there first."""
    early = [m for m, file in _modules() if ("onnxruntime", True) in set(_imports(file))]
    assert [module for module in early if module != "kaname.runtimes.onnx"] == []
    assert "ORT_DISABLE_TELEMETRY" in (SOURCE / "runtimes" / "onnx.py").read_text()


def test_modules_stay_small() -> None:
    """A module past 400 lines holds a second noun."""
    long = {module: lines for module, file in _modules() if (lines := len(file.read_text().splitlines())) > 400}
    assert long == {}

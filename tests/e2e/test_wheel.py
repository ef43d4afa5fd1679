"""What a person gets who installs the wheel in an empty folder, with the core dependencies alone."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.server import environment
from tests.processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def _run(*command: str | Path, cwd: Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=400, check=False
    )
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh virtual environment with the wheel of this checkout and what it requires."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    _run(UV, "venv", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    done = _run(UV, "pip", "install", "--python", python, wheel, cwd=folder, ok=False)
    if done.returncode != 0 and "error sending request" in done.stderr + done.stdout:
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr
    return python.parent


def test_the_wheel_alone_makes_checks_and_serves_a_project(installed: Path, tmp_path: Path) -> None:
    """init, check, serve and an answer without any optional library; a pickle names the extra that reads it."""
    assert _run(installed / "python", "-c", "import sklearn", cwd=tmp_path, ok=False).returncode != 0
    kaname = installed / "kaname"
    _run(kaname, "init", "shop", cwd=tmp_path)
    assert "ok" in _run(kaname, "check", cwd=tmp_path / "shop").stdout
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        server = subprocess.Popen(
            [kaname, "serve", "--port", "0"], cwd=tmp_path / "shop", env=environment(), stdout=out, stderr=err
        )
    try:
        said = until(lambda: _address(tmp_path / "out"), (tmp_path / "err").read_text(), 60.0)
        key = (tmp_path / "shop" / ".kaname" / "admin.key").read_text().strip()
        request = urllib.request.Request(
            f"{said}/api/v1/models/iris/predict",
            b'{"features": {"input": [5.1, 3.5, 1.4, 0.2]}}',
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            assert b'"setosa"' in answer.read()
        assert "iris" in _run(kaname, "predictions", "tail", cwd=tmp_path / "shop").stdout
        assert "ready" in _run(kaname, "status", cwd=tmp_path / "shop").stdout
        _run(kaname, "doctor", cwd=tmp_path / "shop")

        export = _run(kaname, "predictions", "export", "-o", "x.parquet", cwd=tmp_path / "shop", ok=False)
        assert export.returncode == 1
        assert "kaname[arrow]" in export.stderr
        (tmp_path / "model.joblib").write_bytes(_pickle())
        pickle = ["model", "add", "churn", str(tmp_path / "model.joblib"), "--trust-pickle"]
        refused = _run(kaname, *pickle, cwd=tmp_path / "shop", ok=False)
        assert refused.returncode == 1
        assert "kaname[sklearn]" in refused.stderr
    finally:
        server.terminate()
        assert server.wait(30) == 0


def _address(out: Path) -> str:
    said = out.read_text()
    return said.partition("answers at ")[2].strip() if "answers at" in said and said.endswith("\n") else ""


def _pickle() -> bytes:
    """A small estimator of scikit-learn, as joblib writes it."""
    joblib = pytest.importorskip("joblib")
    linear = pytest.importorskip("sklearn.linear_model")
    import io

    buffer = io.BytesIO()
    joblib.dump(linear.LogisticRegression().fit([[0.0], [1.0]], [0, 1]), buffer)
    return buffer.getvalue()


def test_the_wheel_holds_what_the_package_needs(installed: Path) -> None:
    """Migrations, the starter project and the marker of types are in the wheel; tests are not."""
    import zipfile

    (wheel,) = installed.parents[1].glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "kaname/py.typed" in names
    assert any(name.startswith("kaname/storage/sql/migrations/versions/0001") for name in names)
    assert any(name.startswith("kaname/cli/starter/") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "examples/")) for name in names)

"""Repositories of other servers on the command line: imported into a project, and served from nothing but a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.kaname import COMMAND, kaname
from tests.e2e import graphs
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, environment, new_project
from tests.processes import until
from tests.repositories.building import triton, write
from tests.repositories.publishing import ticked

pytestmark = pytest.mark.slow

ALL = "version_policy { all {} } max_batch_size: 8 instance_group [ { count: 2 } ]"


class Served(Server):
    """`kaname serve --from`, started in a folder of its own."""

    def __init__(self, source: Path, folder: Path, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder / f"kaname-{source.name}", command=["--from", str(source), *options])


def _boosters(root: Path) -> None:
    """A folder of MLServer with one model of each library."""
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    joblib = pytest.importorskip("joblib")
    lightgbm = pytest.importorskip("lightgbm")
    xgboost = pytest.importorskip("xgboost")
    from sklearn.linear_model import LogisticRegression

    x, y = sklearn_datasets.load_iris(return_X_y=True)
    for name in ("forest", "boost", "light", "scale"):
        (root / name).mkdir(parents=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(x, y), root / "forest" / "model.joblib")
    xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(x, y), num_boost_round=3).save_model(
        root / "boost" / "model.json"
    )
    lightgbm.train(
        {"objective": "multiclass", "num_class": 3, "verbose": -1}, lightgbm.Dataset(x, y), num_boost_round=3
    ).save_model(root / "light" / "model.bst")
    graphs.constant(root / "scale" / "model.onnx", 4.0)
    for name, implementation in (
        ("forest", "mlserver_sklearn.SKLearnModel"),
        ("boost", "mlserver_xgboost.XGBoostModel"),
        ("light", "mlserver_lightgbm.LightGBMModel"),
        ("scale", "mlserver_onnx.OnnxModel"),
        ("own", "mine.Model"),
    ):
        said = {"name": name, "implementation": implementation, "parameters": {"version": "v1"}}
        write(root / name / "model-settings.json", said)


def test_an_mlserver_folder_becomes_models_of_every_library(tmp_path: Path) -> None:
    """scikit-learn, XGBoost, LightGBM and ONNX files go through their own importers; pickles only when trusted."""
    project, root = new_project(tmp_path / "project"), tmp_path / "mlserver"
    _boosters(root)
    first = kaname("-C", project, "import", root, "--json")
    assert first.code == 1
    answers = {model["model"]: model["answers"] for model in first.json()["models"]}
    assert answers == {"boost": "v1", "light": "v1", "scale": "v1", "forest": None, "own": None}
    refused = {model["model"]: json.dumps(model) for model in first.json()["models"]}
    assert "--trust-pickle" in refused["forest"]
    assert "mine.Model" in refused["own"]
    second = kaname("-C", project, "import", root, "--trust-pickle", "--only", "forest", "--only", "light", "--json")
    assert second.code == 0, second.out
    assert [each["versions"][0]["outcome"] for each in second.json()["models"]] == ["taken", "there"]
    sources = {
        name: kaname("-C", project, "model", "show", name, "v1", "--json").json()["source"]
        for name in ("forest", "boost", "light", "scale")
    }
    assert sources == {"forest": "sklearn", "boost": "xgboost", "light": "lightgbm", "scale": "onnx"}


def _asked(server: Server) -> tuple[str, float]:
    """The version that answers for `steps`, and what it says."""
    with server.client() as client:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}
        answer = client.post("/v2/models/steps/infer", json=body).json()
    return answer["model_version"], answer["outputs"][0]["data"][0]


def test_a_triton_repository_is_served_from_its_folder(tmp_path: Path) -> None:
    """`kaname serve --from DIR` makes a project in the present folder, reports, and answers; the next start goes on
    with the same project and takes only what is new."""
    root = tmp_path / "triton"
    for number in (1, 2):
        graphs.constant(root / "steps" / str(number) / "model.onnx", float(number))
    write(root / "steps" / "config.pbtxt", ALL)
    with Served(root, tmp_path / "here") as server:
        assert _asked(server) == ("2", 2.0)
        assert server.out().count("importing steps/") == 2
        assert "instance_group" in server.out()
    graphs.constant(root / "steps" / "3" / "model.onnx", 3.0)
    with Served(root, tmp_path / "here") as server:
        assert server.out().count("importing steps/") == 1
        assert _asked(server) == ("3", 3.0)


def test_nothing_to_serve_is_said_before_anything_starts(tmp_path: Path) -> None:
    """A repository without a model that can be taken ends with its report and the reason."""
    root = triton(tmp_path / "triton", config='backend: "python"')
    write(root / "scale" / "1" / "model.py")
    ran = kaname("serve", "--from", root, "--port", "0", cwd=tmp_path)
    assert ran.code == 2
    assert "Triton's own interface" in ran.out
    assert "there is nothing to serve" in ran.err
    assert (tmp_path / "kaname-triton" / "kaname.yaml").is_file()


def test_where_the_project_of_a_repository_is(tmp_path: Path) -> None:
    """A folder may be named, a project around is used, a folder with something else in it is refused."""
    root = triton(tmp_path / "triton", config='backend: "python"')
    write(root / "scale" / "1" / "model.py")
    named = kaname("serve", tmp_path / "mine", "--from", root, cwd=tmp_path)
    assert (named.code, (tmp_path / "mine" / "kaname.yaml").is_file()) == (2, True)
    project = new_project(tmp_path / "project")
    kaname("serve", "--from", root, cwd=project)
    assert (project / ".kaname").is_dir()
    assert not (project / "kaname-triton").exists()
    other = write(tmp_path / "other" / "notes.txt").parent
    refused = kaname("serve", other, "--from", root, cwd=tmp_path)
    assert refused.code == 1
    assert "not a project, and not empty" in refused.err
    lost = subprocess.run(
        [*COMMAND, "serve", "--from", str(tmp_path / "lost")],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert lost.returncode == 2
    assert not (tmp_path / "kaname-lost").exists()


class Followed:
    """A repository that a server with two workers follows."""

    def __init__(self, project: Path, root: Path, serve: Serve) -> None:
        root.mkdir()
        self.root = root
        self.server = serve(workers=2, KANAME_REPOSITORY__PATH=str(root), KANAME_REPOSITORY__POLL_MS="50")
        self._lock = project / ".kaname" / "repository.lock"

    def publish(self, number: int) -> None:
        """A version of `steps` that answers its number, renamed into place."""
        folder = self.root / f".staged-{number}"
        graphs.constant(folder / "model.onnx", float(number))
        ticked(folder)
        (self.root / "steps").mkdir(exist_ok=True)
        folder.rename(self.root / "steps" / str(number))

    def answers(self, number: int) -> None:
        """Wait until that version answers."""
        until(lambda: _asked_or_none(self.server) == (str(number), float(number)), f"version {number} answers", 60.0)

    def watcher(self) -> int:
        """The process that holds the lock."""
        inode = str(self._lock.stat().st_ino)
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return next(int(line[4]) for line in lines if line[1] == "FLOCK" and line[5].endswith(f":{inode}"))


def _asked_or_none(server: Server) -> tuple[str, float] | None:
    try:
        return _asked(server)
    except KeyError:
        return None


def test_a_server_follows_a_repository_whichever_worker_lives(project: Path, serve: Serve, tmp_path: Path) -> None:
    """Published versions answer, half of one never does and the status says so, and where the worker that watches is
    killed another one goes on."""
    followed = Followed(project, tmp_path / "repository", serve)
    server = followed.server
    followed.publish(1)
    followed.answers(1)
    half = followed.root / "steps" / "2"
    half.mkdir()
    (half / "model.onnx").write_bytes(b"half")
    (half / "SHA256SUMS").write_text("0" * 64 + "  model.onnx\n")
    until(lambda: "steps/2 pending" in server.kaname("status").out, "the status says so")
    first = followed.watcher()
    os.kill(first, signal.SIGKILL)
    followed.publish(3)
    followed.answers(3)
    assert followed.watcher() != first
    with server.client() as client:
        (repository,) = client.get("/api/v1/repositories").json()["items"]
        changes = client.get("/api/v1/changes", params={"limit": 1000}).json()["items"]
    assert [model["answers"] for model in repository["models"]] == ["3"]
    assert {change["subject"] for change in changes if change["who"] == "repository"} == {"steps", "steps/1", "steps/3"}

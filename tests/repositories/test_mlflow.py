"""MLflow: exports of its registry, and the registry of its file store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaname.repositories import mlflow as reader
from kaname.repositories.types import FoundModel
from tests.repositories.building import write

RUN, OTHER = "939157dfaaf24244adafcb72acdfc4a6", "49b9b4f5a3d84b27b1cf5c1b0d1d6f6a"
LOGGED = "m-4c5ed2b1d4b04c4f9f5a1f7a4c3ab111"


def read(root: Path) -> FoundModel:
    """The only model of a registry."""
    (model,) = reader.read(root).models
    return model


def version(number: str, run: str = RUN, **values: Any) -> dict[str, Any]:
    """One version as an export describes it."""
    source = f"/opt/mlflow/server/mlruns/1/{run}/artifacts/model"
    plain = {"name": "wine", "version": number, "run_id": run, "source": source, "status": "READY", "tags": {}}
    return {**plain, "current_stage": "None", "aliases": [], "creation_timestamp": 1, **values}


def export(folder: Path, *versions: dict[str, Any], **registered: Any) -> Path:
    """`model.json` of an exported model."""
    model = {"name": "wine", "creation_timestamp": 1, "versions": list(versions), **registered}
    said = {"system": {"script": "export_model.py"}, "info": {}, "mlflow": {"registered_model": model}}
    return write(folder / "model.json", said)


def run(folder: Path, number: str = RUN, **metrics: float) -> Path:
    """An exported run with a model; returns the model's folder."""
    series = {
        name: [{"value": 0.0, "step": 0, "timestamp": 1}, {"value": value, "step": 5, "timestamp": 2}]
        for name, value in metrics.items()
    }
    write(folder / number / "run.json", {"mlflow": {"info": {"run_id": number}, "metrics": series}})
    return write(folder / number / "artifacts" / "model" / "MLmodel", "flavors: {}").parent


@pytest.mark.parametrize("place", [".", "wine", "models/wine"])
def test_an_exported_model_with_its_runs(root: Path, place: str) -> None:
    """An export of one model, of several, and a whole one: files, metrics, aliases and the description come along."""
    export(root / place, version("1", aliases=["champion"]), description="Quality of wine")
    folder = run(root / place, rmse=0.5)
    model = read(root)
    (found,) = model.versions
    assert (model.name, model.refused, model.config) == ("wine", "", {"description": "Quality of wine"})
    assert (found.version, found.path, found.tags, found.metrics) == ("1", folder, ("champion",), {"rmse": 0.5})


def test_runs_of_a_bulk_export_lie_with_their_experiments(root: Path) -> None:
    """`models/NAME/model.json` beside `experiments/NUMBER/RUN`."""
    export(root / "models" / "wine", version("1"))
    folder = run(root / "experiments" / "1")
    assert read(root).versions[0].path == folder


@pytest.mark.parametrize(
    ("source", "files"),
    [
        (f"runs:/{RUN}/deep/model", f"{RUN}/artifacts/deep/model"),
        (f"mlflow-artifacts:/1/{RUN}/artifacts/model", f"{RUN}/artifacts/model"),
        (f"s3://bucket/1/{RUN}/artifacts", f"{RUN}/artifacts"),
        (f"models:/{LOGGED}", LOGGED),
        (f"/srv/mlruns/1/models/{LOGGED}/artifacts", LOGGED),
        ("dbfs:/somewhere", "version_models/1"),
    ],
)
def test_where_the_files_of_a_version_are(root: Path, source: str, files: str) -> None:
    """Whatever the source said on the machine of the registry, the files are found where the export put them."""
    export(root, version("1", source=source))
    write(root / files / "MLmodel")
    assert read(root).versions[0].path == root / files


def test_which_version_answers(root: Path) -> None:
    """That of the stage Production, else that of the alias champion, else the newest; 10 is newer than 9."""
    run(root)
    export(root, version("9"), version("10"))
    assert read(root).preferred == ("10", "9")
    export(root, version("9", aliases=["Champion"]), version("10"))
    assert read(root).preferred == ("9", "10")
    export(root, version("8", current_stage="Production"), version("9", aliases=["champion"]), version("10"))
    assert read(root).preferred == ("8", "9", "10")


def test_what_is_not_offered(root: Path) -> None:
    """Archived and failed versions are left out, one without files is refused, and each says why."""
    run(root)
    export(
        root,
        version("1", current_stage="Archived"),
        version("2", status="FAILED_REGISTRATION"),
        version("3", run=OTHER),
        version("4", description="the best", aliases=["no good"]),
        tags=[{"key": "team", "value": "wine"}],
    )
    model = read(root)
    assert [(each.version, each.offer) for each in model.versions] == [
        ("1", "skipped"),
        ("2", "skipped"),
        ("3", "refused"),
        ("4", "offered"),
    ]
    assert "archived" in model.versions[0].reason
    assert OTHER in model.versions[2].reason
    assert [remark.what for remark in model.remarks] == ["tags", "label no good", "description of version 4"]


@pytest.mark.parametrize("top", [".", "mlruns", "elsewhere/mlruns"])
def test_a_file_store(root: Path, top: str) -> None:
    """`mlruns/models` with runs beside it, also after it was moved: sources are absolute paths of before."""
    store = root / top
    models = store / "models" / "wine"
    write(models / "meta.yaml", "name: wine\ndescription: Wine\ncreation_timestamp: 1\n")
    source = f"file:///home/someone/mlruns/1/{RUN}/artifacts/model"
    write(
        models / "version-1" / "meta.yaml",
        f"name: wine\nversion: 1\nrun_id: {RUN}\nsource: {source}\nstatus: READY\ncurrent_stage: Staging\n",
    )
    write(models / "aliases" / "champion", "1\n")
    write(models / "tags" / "team", "w")
    folder = write(store / "1" / RUN / "artifacts" / "model" / "MLmodel").parent
    write(store / "1" / RUN / "metrics" / "rmse", "1 0.9 0\n2 0.25 1\n")
    model = read(root if top != "elsewhere/mlruns" else store)
    (found,) = model.versions
    assert (found.path, found.tags, found.metrics) == (folder, ("Staging", "champion"), {"rmse": 0.25})
    assert model.config == {"description": "Wine"}
    assert [remark.what for remark in model.remarks] == ["tags/team"]


def test_a_logged_model_of_a_file_store(root: Path) -> None:
    """MLflow 3 keeps models beside runs: `EXPERIMENT/models/m-…/artifacts`."""
    models = root / "mlruns" / "models" / "wine"
    write(models / "meta.yaml", "name: wine\n")
    write(models / "version-1" / "meta.yaml", f"version: '1'\nsource: models:/{LOGGED}\nrun_id: {RUN}\n")
    folder = write(root / "mlruns" / "7" / "models" / LOGGED / "artifacts" / "MLmodel").parent
    assert read(root).versions[0].path == folder

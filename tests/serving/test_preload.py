"""Which versions a change loads before it is in force."""

from __future__ import annotations

from kaname.models.types import ModelInfo, VersionInfo
from kaname.runtimes.types import Profile
from kaname.serving.preload import Preload, preload
from kaname.serving.snapshot import ModelEntry, Snapshot
from kaname.settings import ModelConfig
from tests.inference.runtime import ROWS


def version(model: int, number: int) -> VersionInfo:
    return VersionInfo(
        id=model * 100 + number,
        model=f"m{model}",
        model_id=model,
        version=str(number),
        status="deployed",
        artefact="a" * 64,
        source="onnx",
        runtime="onnx",
        signature=ROWS,
        profile=Profile(rows=(1,), us=(1.0,), best_rows=1, exact=True, splits=True),
        created_us=0,
    )


def entry(model: int, promoted: int | None = 1, *, pinned: bool = False, loaded: bool = True) -> ModelEntry:
    info = ModelInfo(
        id=model,
        name=f"m{model}",
        promoted=None if promoted is None else str(promoted),
        previous=None,
        loaded=loaded,
        config=ModelConfig(pinned=pinned),
        created_us=0,
        etag="1",
    )
    return ModelEntry(info=info, versions=(version(model, 1), version(model, 2)))


def wanted(*entries: ModelEntry, before: Preload | None = None, in_memory: frozenset[int] = frozenset()) -> Preload:
    snapshot = Snapshot(number=1, models=entries, keys=())
    return preload(snapshot, {} if before is None else before.answers, lambda info: info.id in in_memory)


def ids(versions: list[VersionInfo]) -> list[int]:
    return [info.id for info in versions]


def test_at_the_start_everything_is_new_and_pinned_comes_first() -> None:
    """Models that are unloaded or answer with nothing are not loaded."""
    found = wanted(entry(1), entry(2, pinned=True), entry(3, loaded=False), entry(4, None))
    assert (ids(found.first), ids(found.fresh), found.pinned) == ([201], [101], {201})


def test_what_has_left_memory_stays_away() -> None:
    """A change of something else loads nothing; but what is pinned is loaded again, should it ever be missing."""
    before = wanted(entry(1), entry(2, pinned=True))
    found = wanted(entry(1), entry(2, pinned=True), before=before)
    assert (ids(found.first), ids(found.fresh)) == ([201], [])


def test_a_successor_of_what_is_in_memory_comes_first() -> None:
    """Its traffic goes on without a cold moment; that of a model that nobody asks begins cold."""
    before = wanted(entry(1), entry(2))
    found = wanted(entry(1, 2), entry(2, 2), before=before, in_memory=frozenset({101}))
    assert (ids(found.first), ids(found.fresh)) == ([102], [202])


def test_a_model_that_is_loaded_again_is_new() -> None:
    """`kaname model unload` and `load` bring it back into memory."""
    before = wanted(entry(1, loaded=False))
    assert ids(wanted(entry(1), before=before).fresh) == [101]

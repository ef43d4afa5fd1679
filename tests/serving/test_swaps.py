"""What a snapshot was answered with is gone when the next one answers, without the collector of cycles."""

from __future__ import annotations

import gc
import weakref

from tests.processes import until
from tests.serving.world import World


def test_replaced_endpoints_are_freed_at_once(world: World) -> None:
    """Nothing refers to itself there: garbage of that kind grows until the collector looks at everything."""
    target = b"/api/v1/models/flowers/predict"
    endpoint = weakref.ref(world.plane.gate.find(target))
    before = endpoint()
    assert before is not None
    del before
    gc.collect()
    gc.disable()
    try:
        world.stores.keys.create("another", ("read",), who="test")
        until(lambda: endpoint() is None, "the endpoint of the snapshot before is freed")
    finally:
        gc.enable()

"""URLs that predict, as the gate finds them."""

from __future__ import annotations

from .world import World


def test_a_query_costs_no_new_endpoint(world: World) -> None:
    """Decoders are compiled once per URL: a client that adds a fresh query to each request does not fill memory."""
    path = b"/api/v1/models/flowers/predict"

    def find() -> set[int]:
        return {id(world.plane.gate.find(path + b"?at=%d" % n)) for n in range(20)} | {id(world.plane.gate.find(path))}

    assert len(world.on_loop(find)) == 1


def test_other_urls_are_left_to_the_application(world: World) -> None:
    """Only whole paths predict."""
    targets = (b"/", b"*", b"/api/v1/models/flowers", b"/api/v1/models/flowers/predict/", b"/v2/models/x/y/infer")
    assert world.on_loop(lambda: [world.plane.gate.find(target) for target in targets]) == [None] * 5

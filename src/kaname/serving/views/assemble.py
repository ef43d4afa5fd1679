"""The step in front of inference that reads what a request did not bring: the columns of the model's view.

It never waits: what an embedded store or a cache holds is read at once; a store over the network is asked on threads,
and the call goes on when that has answered, or with cached and default values when it has not in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kaname.call import Call, Step, enter
from kaname.clock import Clock
from kaname.errors import CallerLeft, InvalidInput
from kaname.features.views.plan import Found, Pick, Plan
from kaname.features.views.reading import StoredView, ask, find, find_one
from kaname.features.views.types import View
from kaname.serving.exchange import Body
from kaname.serving.json_rows import place
from kaname.serving.views.entities import keys_of
from kaname.serving.views.input import Given, ViewInput, Wanted
from kaname.serving.views.named import Named
from kaname.serving.views.rows import Rows, rows_of
from kaname.signature import Signature


class Assembly:
    """The bodies and the step of one version and the view of its model; follows the view when its file changes."""

    def __init__(
        self,
        stored: StoredView,
        signature: Signature,
        max_rows: int,
        plain: Callable[[Call, Body], None],
        clock: Clock,
        lookup_ms: float,
    ) -> None:
        """`plain` fills a call from a body without an entity; `lookup_ms` is the longest wait for stores. Raises
        InvalidInput where view and model do not fit."""
        self._stored = stored
        self._signature = signature
        self._max_rows = max_rows
        self._plain = plain
        self._clock = clock
        self._time_ns = clock.time_ns
        self._lookup_s = lookup_ms / 1000
        self._compile(stored.view)

    def _compile(self, view: View) -> None:
        rows = rows_of(self._signature, view)
        self._given = Given(rows)
        self._input = ViewInput(view, self._given, self._max_rows, self._plain)
        self._named: Named | None = None
        self._rows: Rows = rows
        self._view = view
        self._picked: Plan | None = None
        self._part = self._stored.part(rows.names)

    def fill(self, call: Call, body: Body) -> None:
        """See `ViewInput.fill`."""
        if self._stored.view is not self._view:
            self._compile(self._stored.view)
        self._input.fill(call, body)

    def named(self) -> Named:
        """What reads rows in which keys and values stand side by side."""
        if self._stored.view is not self._view:
            self._compile(self._stored.view)
        if self._named is None:
            self._named = Named(self._view, self._rows, self._given, self._max_rows)
        return self._named

    def step(self, then: Step) -> Step:
        """The step in front of `then`."""
        time_ns = self._time_ns

        def assemble(call: Call) -> None:
            wanted: Wanted | None = call.wanted
            if wanted is None:
                then(call)
                return
            plan = self._part.plan()
            now_us = time_ns() // 1000
            keys = keys_of(plan, wanted.entities, wanted.said)
            if not plan.direct:
                found = ask(plan, keys, now_us, self._patience_s(call), partial(again, call, wanted, plan, now_us))
                if found is None:
                    return
            elif len(keys) == 1 and wanted.used is None:
                one = find_one(plan, keys[0], now_us)
                row = self._picker(plan)(one) if wanted.given is None else None
                if row is not None:
                    self._rows.fill_straight(call, row)
                    then(call)
                    return
                found = [Found(one, ())]
            else:
                found = find(plan, keys, now_us, stamped=wanted.used is not None)
            self._finish(call, wanted, plan, found, now_us)
            then(call)

        def again(call: Call, wanted: Wanted, plan: Plan, now_us: int, found: list[Found]) -> None:
            def go_on(call: Call) -> None:
                self._finish(call, wanted, plan, found, now_us)
                then(call)

            if call.gone:
                call.fail(CallerLeft("the caller left before the answer"))
            elif not call.done:
                enter(go_on, call)

        return assemble

    def _patience_s(self, call: Call) -> float:
        """How long a call may wait for stores: a part of what it has left, for it must be computed, too."""
        left_s = (call.deadline_ns - self._clock.monotonic_ns()) / 1e9 if call.deadline_ns else self._lookup_s
        return max(0.0, min(self._lookup_s, left_s / 2))

    def _picker(self, plan: Plan) -> Pick:
        if plan is not self._picked:
            self._picked, self._pick = plan, plan.picker(self._rows.straight)
        return self._pick

    def _finish(self, call: Call, wanted: Wanted, plan: Plan, found: Sequence[Found], now_us: int) -> None:
        given = wanted.given
        rows: list[dict[str, Any]] = []
        for i, one in enumerate(found):
            try:
                rows.append(plan.settle(one.rows, now_us, None if given is None else given[i]))
            except InvalidInput as error:
                error.where = str(error.where).replace("features", place(call, i), 1)
                raise
        plan.compute(wanted.entities, rows, now_us, given)
        if wanted.used is not None:
            for i, one in enumerate(found):
                wanted.used.append(plan.explain(rows[i], one, now_us, None if given is None else given[i]))
        if given is not None:
            rows = [row | own for row, own in zip(rows, given, strict=True)]
        self._rows.fill(call, rows)

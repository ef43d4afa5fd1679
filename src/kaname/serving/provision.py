"""The step in front of admission where a fleet shares its limits: a call whose rows are not at hand waits for them.

Admission decides without waiting, as it always does; this only sees to it that what it needs to know is here. A call
waits as long as the store may take to answer (`shared.lookup_ms`), then the node decides alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kaname.access.drawing import Drawing
from kaname.access.quotas import Bucket, SharedLimiter
from kaname.call import Call, Step, enter
from kaname.errors import CallerLeft


def provision(model: Bucket | None) -> Callable[[Step], Step]:
    """Makes the step for calls of a model, given that model's bucket and then the admission behind it."""
    models = (model,) if isinstance(model, Drawing) else ()

    def before(then: Step) -> Step:
        def provided(call: Call) -> None:
            limiter = call.principal.limiter
            drawings = (limiter.drawings + models) if type(limiter) is SharedLimiter else models
            for drawing in drawings:
                if not drawing.ready(call.rows):
                    drawing.wait(call.rows, partial(again, call))
                    return
            then(call)

        def again(call: Call) -> None:
            if call.gone:
                call.fail(CallerLeft("the caller left before the answer"))
            elif not call.done:
                enter(provided, call)

        return provided

    return before

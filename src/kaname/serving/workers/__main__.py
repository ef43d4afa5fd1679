"""The process of one worker: `python -m kaname.serving.workers OPTIONS`, started by the supervisor."""

from __future__ import annotations

import sys

# structlog would load it for its colours and tracebacks: 15 MB and 50 ms that a worker has no use for.
sys.modules["rich"] = None  # type: ignore[assignment]  # the documented way to say that a module is not there

from kaname.serving.workers.worker import main  # noqa: E402  (after the line above)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

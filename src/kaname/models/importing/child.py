"""The child process of an import: a job on stdin, a reply on stdout.

Started as `python -m kaname.models.importing.child [--isolate]`.
"""

from __future__ import annotations

import os
import sys

from kaname.models.importing.isolation import leave_network


def main(arguments: list[str]) -> int:
    """Read one job, do it, write one reply."""
    isolated = leave_network() if "--isolate" in arguments else True
    # Libraries print to stdout: give them stderr, and keep the pipe for the reply.
    answer = os.dup(1)
    os.dup2(2, 1)
    # Only now: numpy starts threads, and a process with threads may not enter a user namespace.
    from kaname.models.importing.work import answer_to

    raw = answer_to(sys.stdin.buffer.read(), isolated=isolated)
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

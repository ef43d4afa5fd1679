"""The real frameworks, each in an environment of its own, in which Kaname itself runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments import environment

HERE = Path(__file__).parent
SUITES = ("mlflow", "pytorch", "tensorflow")
MAKING_S, RUNNING_S = 1_200, 900


@pytest.mark.services
@pytest.mark.timeout(MAKING_S + RUNNING_S)
@pytest.mark.parametrize("suite", SUITES)
def test_a_framework_in_its_own_environment(suite: str) -> None:
    """Every test of the suite `inside_NAME.py` passes with the framework's real library."""
    inside = environment(HERE / "environments" / f"{suite}.txt")
    # The frameworks warn of their own future; what Kaname warns of is tested in its own environment.
    options = ["-q", "--noconftest", "-p", "no:cacheprovider", "-W", "default", f"--timeout={RUNNING_S}"]
    ran = inside.run(["-m", "pytest", *options, str(HERE / f"inside_{suite}.py")], RUNNING_S)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]

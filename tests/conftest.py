"""What every test shares: with KANAME_REQUIRE_SERVICES=1 a skipped test is a failed one, unless it needs a GPU."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.cassandra_servers import cassandra  # noqa: F401  (a fixture)
from tests.databases import create, mariadb, postgres, url  # noqa: F401  (fixtures)
from tests.hbase_servers import hbase  # noqa: F401  (a fixture)

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
REQUIRED = os.environ.get("KANAME_REQUIRE_SERVICES") == "1"


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that keeps the reason; expected failures stay what they are."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped, but KANAME_REQUIRE_SERVICES=1 asks for every test: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if REQUIRED and item.get_closest_marker("gpu") is None:
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if REQUIRED:
        _refuse(report)
    return report

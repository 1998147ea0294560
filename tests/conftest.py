"""What tests on nodes share: the image, the lab, and a watch over each test.

A test fails if its node's journal holds an error that nothing explains. Of a test that failed, the console
and the journal are kept under build/test-logs. With --sit the run ends at the first failure and the node
stays up to be looked at.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from node_watch import FAILED
from skerry.image.compose.build import Store, build
from skerry_lab.lab import Lab
from skerry_lab.node import NodeImage

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# How long an example takes is the machine's affair; what hangs, pytest's own time limit ends.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

NODE_TEST_TIMEOUT_S = 900  # with what the first test has to wait for: the image and the first boot


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sit", action="store_true", help="stop at the first failure and keep the node to look at"
    )


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell SIGINT is ignored, and what the tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--sit"):
        config.option.maxfail = 1


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks at the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"nodes", "vm"} & set(item.path.parts) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(NODE_TEST_TIMEOUT_S))
        # With `-n 2 --dist loadgroup` each group runs in a process of its own, in order: see docs/adr/0015.
        updates = "releases" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("updates" if updates else "others"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        item.session.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def node_image() -> NodeImage:
    """The image as the composer makes it now; steps that did not change come from its cache."""
    made = build()
    store = Store()
    return NodeImage(store.path(made.label, "disk.raw"), store.path(made.label, "tree.tar"))


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab of this run, gone at its end."""
    made = Lab.create(f"test-{os.getpid()}")
    yield made
    if request.config.getoption("--sit") and request.session.stash.get(FAILED, False):
        names = " or ".join(f"skerry lab ssh {made.name}/{name}" for name in made.names())
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\nthe lab is kept; look with: {names}")
            reporter.write_line(f"and in the end: skerry lab down --name {made.name}")
        return
    made.down()


@pytest.fixture(scope="session")
def logs_directory(pytestconfig: pytest.Config) -> Path:
    """Where the logs of failed tests are kept."""
    return Path(pytestconfig.rootpath) / "build" / "test-logs"

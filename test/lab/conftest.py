"""Puts pytest into the lab's own namespaces, and shows the programs' logs when a test fails."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import lab as lab_module  # noqa: E402


def pytest_configure(config):
    if lab_module.is_entered() or config.option.collectonly:
        return
    # The capture plugin has moved stdout to a file already; the new process needs the real one.
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    try:
        lab_module.enter([sys.executable, "-m", "pytest", *config.invocation_params.args])
    except lab_module.LabError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call" and report.failed:
        for name, text in lab_module.recent_logs():
            report.sections.append((f"log of {name}", text))


@pytest.fixture
def lab(request):
    """An empty lab, taken down after the test."""
    with lab_module.Lab(request.node.name) as world:
        yield world

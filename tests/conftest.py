"""Rules that hold for every test: it finds a clean process, and it leaves the process as it found it."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import ptycho.params
from tests import wires
from tests.legacy_dictionary import legacy_dictionary_restored

pytest_plugins = ["pytester"]

# How fast a machine is must not decide whether a property holds.
_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", _ANY_MACHINE, max_examples=6500, print_blob=True)
settings.register_profile("quick", _ANY_MACHINE, max_examples=60, derandomize=True, database=None)
settings.load_profile("quick")

# Set by pytest for each phase of a test, and once by the import of the library named.
_ENVIRONMENT_OF_OTHERS = {
    "PYTEST_CURRENT_TEST",
    "PYTORCH_NVML_BASED_CUDA_CHECK",  # lightning
    "TORCHINDUCTOR_CACHE_DIR",  # lightning
    "_MLFLOW_TELEMETRY_SESSION_ID",  # mlflow
}
# A test that imports torch for the first time is compared with torch as it comes.
_TORCH_DEFAULTS = {
    "torch determinism": 0,
    "torch default dtype": "torch.float32",
    "torch gradient recording": True,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--cut KNOB`, see tests/wires.py, and `--least-cases N`."""
    parser.addoption("--cut", metavar="KNOB", help="expect the tests that prove KNOB to fail without it")
    parser.addoption(
        "--least-cases", metavar="N", type=int, default=0, help="fail where properties try fewer cases"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the suite independent of the developer's own execution settings, and of how pytest was started."""
    if config.option.cut:
        wires.cut(config.option.cut)
    if not os.path.exists(sys.argv[0]):
        # a worker of pytest-xdist has no script, and a training on two devices asks for one
        sys.argv[0] = __file__
    for name in list(os.environ):
        if name.upper().startswith(("PTYCHO_EXEC_", "PTYCHO_CONFIG")):
            del os.environ[name]


@pytest.fixture
def legacy() -> Iterator[dict[str, object]]:
    """The legacy dictionary, which factories fill; after the test it is as it was."""
    with legacy_dictionary_restored() as found:
        yield found


_cases = 0
"""Cases that this process tried, of all properties."""


def _counted(test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    def count_and_run(*values: Any, **named: Any) -> Any:
        global _cases
        _cases += 1
        return test(*values, **named)

    return count_and_run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count the cases of every property; a function collected twice (parametrized) is wrapped once."""
    if config.option.cut:
        items[:] = wires.selected(items, config.option.cut)
    handles = {id(handle): handle for item in items if (handle := _handle(item))}
    for handle in handles.values():
        handle.inner_test = _counted(handle.inner_test)


def _handle(item: pytest.Item) -> Any:
    return getattr(getattr(item, "obj", None), "hypothesis", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note how many cases a property tried; the note reaches the summary from other processes too."""
    before = _cases
    try:
        return (yield)
    finally:
        if _handle(item):
            item.user_properties.append(("cases", _cases - before))


def _tried(reporter: Any) -> list[int]:
    """How many cases each property tried, in whatever process."""
    done = [report for kind in ("passed", "failed") for report in reporter.stats.get(kind, [])]
    return [value for report in done for name, value in report.user_properties if name == "cases"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With `--cut`, fail where a test passed without the knob that it proves, or none ran; else with too few cases."""
    knob, least = session.config.option.cut, session.config.option.least_cases
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and sum(_tried(reporter)) < least:
        session.exitstatus = session.exitstatus or 1
        reporter.write_line(
            f"\n--least-cases: expected {least:,} or more cases; {sum(_tried(reporter)):,} were tried"
        )
    if knob:
        ran, passed = wires.survivors(reporter.stats)
        session.exitstatus = 1 if passed or not ran else 0
        reporter.write_line(
            f"\n--cut {knob}: noticed by {len(ran - passed)} of {len(ran)} tests {sorted(passed)}"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases the properties tried."""
    tried = _tried(terminalreporter)
    if tried:
        terminalreporter.write_line(f"{sum(tried):,} cases of {len(tried)} properties")


def _torch_state() -> dict[str, object]:
    if "torch" not in sys.modules:
        return dict(_TORCH_DEFAULTS)
    import torch

    return {
        "torch determinism": torch.get_deterministic_debug_mode(),
        "torch default dtype": str(torch.get_default_dtype()),
        "torch gradient recording": torch.is_grad_enabled(),
        "torch thread count": torch.get_num_threads(),
    }


def _process_state(root: Path) -> dict[str, object]:
    state = _torch_state()
    visible = (name for name in os.listdir(root) if not name.startswith((".", "__pycache__")))
    state |= {f"{name} in the repository root": "present" for name in visible}
    state |= {f"os.environ[{k!r}]": v for k, v in os.environ.items() if k not in _ENVIRONMENT_OF_OTHERS}
    state |= {f"ptycho.params.cfg[{k!r}]": repr(v) for k, v in ptycho.params.cfg.items()}
    state["working directory"] = os.getcwd()
    return state


def _undo(environment: dict[str, str], legacy: dict[str, object], directory: str) -> None:
    """Keep one leaking test from failing the tests after it."""
    os.environ.clear()
    os.environ.update(environment)
    ptycho.params.cfg.clear()
    ptycho.params.cfg.update(legacy)
    os.chdir(directory)
    if "torch" in sys.modules:
        import torch

        torch.set_deterministic_debug_mode(0)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


@pytest.fixture(autouse=True)
def _process_is_left_as_found(pytestconfig: pytest.Config) -> Iterator[None]:
    if ptycho.params.cfg:
        ptycho.params.cfg.clear()
        pytest.fail("A fixture of a wider scope left ptycho.params.cfg filled.", pytrace=False)
    found = _process_state(pytestconfig.rootpath)
    keep = dict(os.environ), dict(ptycho.params.cfg), os.getcwd()
    yield
    left = _process_state(pytestconfig.rootpath)
    leaks = [
        f"{name}: {found.get(name, 'absent')!s} before the test, {left.get(name, 'absent')!s} after it"
        for name in sorted(found.keys() | left.keys())
        if found.get(name) != left.get(name) and not (name == "torch thread count" and name not in found)
    ]
    if leaks:
        _undo(*keep)
        rule = "The test must leave the process as it found it. Changed:\n"
        pytest.fail(rule + "\n".join(leaks), pytrace=False)


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """The folder of scans kept beside the repository."""
    folder = pytestconfig.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the scans in {folder}, which is not there")
    return folder

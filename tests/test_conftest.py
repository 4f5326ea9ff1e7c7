"""The guards of conftest.py, each against a test that breaks its rule."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

HEADER = "import os\nfrom pathlib import Path\nimport ptycho.params\n"


def run(pytester: pytest.Pytester, statement: str, *, in_process: bool = True) -> pytest.RunResult:
    """Run a test file whose only test executes `statement`, under this suite's conftest."""
    pytester.makeini("[pytest]")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(f"{HEADER}\ndef test_leaks(pytestconfig):\n    {statement}\n")
    start = pytester.runpytest_inprocess if in_process else pytester.runpytest_subprocess
    return start("-p", "no:cacheprovider")


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("os.environ['LEAKED'] = '1'", "os.environ['LEAKED']: absent before the test, 1 after it"),
        ("ptycho.params.cfg['N'] = 64", "ptycho.params.cfg['N']: absent before the test, 64 after it"),
        ("os.chdir('/')", "working directory: * before the test, / after it"),
        (
            "(pytestconfig.rootpath / 'leaked.npz').touch()",
            "leaked.npz in the repository root: absent before the test, present after it",
        ),
    ],
    ids=["environment", "legacy dictionary", "directory", "file"],
)
def test_a_leak_fails_the_test_that_left_it(pytester: pytest.Pytester, statement: str, changed: str) -> None:
    result = run(pytester, statement)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"*{changed.replace('[', '[[]')}"])


def test_a_fixture_of_a_wider_scope_leaves_no_legacy_dictionary(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(
        f"import pytest\n{HEADER}\n"
        "@pytest.fixture(scope='module')\ndef model():\n    ptycho.params.cfg['N'] = 64\n\n"
        "def test_that_uses_it(model):\n    pass\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["A fixture of a wider scope left ptycho.params.cfg filled."])


@pytest.mark.integration
def test_leaked_torch_flags_fail_the_test_that_imported_torch(pytester: pytest.Pytester) -> None:
    leaks = "import torch; torch.use_deterministic_algorithms(True); torch.set_default_dtype(torch.float64)"
    result = run(pytester, leaks, in_process=False)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "torch default dtype: torch.float32 before the test, torch.float64 after it",
            "torch determinism: 0 before the test, 2 after it",
        ]
    )


def test_a_test_that_cleans_up_passes(pytester: pytest.Pytester) -> None:
    cleans_up = "os.environ['KEPT'] = '1'; Path('kept').touch(); del os.environ['KEPT']; os.remove('kept')"
    run(pytester, cleans_up).assert_outcomes(passed=1)


def test_the_shell_does_not_set_knobs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "8")
    run(pytester, "assert 'PTYCHO_EXEC_NUM_WORKERS' not in os.environ").assert_outcomes(passed=1)


def count_cases(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run a property of 30 cases and a test that is none."""
    pytester.makeini("[pytest]")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(
        "from hypothesis import given, settings, strategies as st\n\n"
        "@settings(max_examples=30)\n@given(st.integers())\ndef test_property(n):\n    pass\n\n"
        "def test_other():\n    pass\n"
    )
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def test_the_cases_of_properties_are_counted(pytester: pytest.Pytester) -> None:
    count_cases(pytester).stdout.fnmatch_lines(["30 cases of 1 properties"])


@pytest.mark.parametrize(("least", "status"), [(30, 0), (31, 1)])
def test_a_session_that_tries_too_few_cases_fails(pytester: pytest.Pytester, least: int, status: int) -> None:
    result = count_cases(pytester, f"--least-cases={least}")
    assert result.ret == status
    said = f"--least-cases: expected {least} or more cases; 30 were tried"
    assert (said in result.outlines) == (status == 1)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("reads", "knob", "noticed"),
    [("config.seed", "seed", "1 of 1"), ("7", "seed", "0 of 1"), ("7", "strategy", "0 of 0")],
)
def test_a_knob_that_no_test_misses_is_reported(reads: str, knob: str, noticed: str, tmp_path: Path) -> None:
    (tmp_path / "test_seed.py").write_text(
        "import pytest\n"
        "from ptycho.config.execution import PyTorchExecutionConfig\n"
        "@pytest.mark.proves('seed', seen='its value')\n"
        "def test_seed():\n"
        "    config = PyTorchExecutionConfig(seed=7)\n"
        f"    assert {reads} == 7\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            "pyproject.toml",
            "--rootdir=.",
            "-p",
            "tests.conftest",
            str(tmp_path),
            "--cut",
            knob,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (0 if noticed == "1 of 1" else 1), done.stdout + done.stderr
    assert f"--cut {knob}: noticed by {noticed} tests" in done.stdout

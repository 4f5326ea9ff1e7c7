"""The guards of conftest.py, each against a test that breaks its rule."""

from pathlib import Path

import pytest

HEADER = "import os\nfrom pathlib import Path\nimport ptycho.params\n"


def run(pytester: pytest.Pytester, statement: str, *, subprocess: bool = False) -> pytest.RunResult:
    """Run a test file whose only test executes `statement`, under this suite's conftest."""
    pytester.makeini("[pytest]")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(f"{HEADER}\ndef test_leaks(pytestconfig):\n    {statement}\n")
    start = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
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


def test_leaked_torch_flags_fail_the_test_that_imported_torch(pytester: pytest.Pytester) -> None:
    leaks = "import torch; torch.use_deterministic_algorithms(True); torch.set_default_dtype(torch.float64)"
    result = run(pytester, leaks, subprocess=True)
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


def test_the_cases_of_properties_are_counted(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]")
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(
        "from hypothesis import given, settings, strategies as st\n\n"
        "@settings(max_examples=30)\n@given(st.integers())\ndef test_property(n):\n    pass\n\n"
        "def test_other():\n    pass\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["30 cases of 1 properties"])

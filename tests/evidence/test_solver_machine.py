"""The execution settings of a reconstruction without a network, seen in what it computes and writes."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ptycho.config.errors import ConfigError
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import solve
from tests.torch.solving import course_of, payload_of, scan_of, solved

pytestmark = pytest.mark.integration


def run(file: Path, folder: Path, **settings: Any) -> SolverResult:
    return solved(file, folder, **{"n_iterations": 3, **settings})


class Transforms(TorchDispatchMode):
    """What there is at every Fourier transform."""

    def __init__(self) -> None:
        super().__init__()
        self.n_patterns: set[int] = set()
        self.formats: set[torch.dtype] = set()
        self.n_threads: set[int] = set()
        self.determinism: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if "_fft_c2c" in str(func):
            self.formats.add(args[0].dtype)
            self.n_threads.add(torch.get_num_threads())
            self.determinism.add(torch.get_deterministic_debug_mode())
            if args[0].dim() == 4:
                self.n_patterns.add(args[0].shape[1])  # modes come first
        return func(*args, **(kwargs or {}))


def transforms(file: Path, folder: Path, **settings: Any) -> Transforms:
    with Transforms() as seen:
        run(file, folder, **settings)
    return seen


def of_one_iteration(file: Path, **settings: Any) -> Transforms:
    """Without the trials of orientations, which compute as they do in every run."""
    course = course_of(file, scan_of(), **settings)
    with Transforms() as seen:
        course.advance()
    return seen


@pytest.mark.proves("inference_batch_size", seen="a chunk of the solver is so many patterns")
def test_a_chunk_has_so_many_patterns(tiny_file: Path) -> None:
    assert max(of_one_iteration(tiny_file, inference_batch_size=23).n_patterns) == 23


@pytest.mark.proves("precision", seen="the solver computes in the number format named")
@pytest.mark.parametrize(
    ("precision", "expected"), [("32-true", torch.complex64), ("64-true", torch.complex128)]
)
def test_precision_is_the_number_format(tiny_file: Path, precision: str, expected: torch.dtype) -> None:
    assert of_one_iteration(tiny_file, precision=precision).formats == {expected}


@pytest.mark.proves("num_threads", seen="the solver computes with this many threads")
@pytest.mark.parametrize("n", [1, 3])
def test_it_computes_with_so_many_threads(tiny_file: Path, n: int, tmp_path: Path) -> None:
    assert transforms(tiny_file, tmp_path, num_threads=n).n_threads == {n}


@pytest.mark.proves("deterministic", seen="the solver computes as it says; two runs give equal objects")
@pytest.mark.parametrize(("deterministic", "mode"), [(True, 2), ("warn", 1), (False, 0)])
def test_runs_repeat(tiny_file: Path, deterministic: bool | str, mode: int, tmp_path: Path) -> None:
    with Transforms() as seen:
        first = run(tiny_file, tmp_path / "a", deterministic=deterministic)
    second = run(tiny_file, tmp_path / "b", deterministic=deterministic)
    assert seen.determinism == {mode}
    np.testing.assert_array_equal(first.object, second.object)


@pytest.mark.proves("seed", seen="another seed sets other patterns aside; the same one the same")
def test_the_seed_draws_what_is_set_aside(tiny_file: Path, tmp_path: Path) -> None:
    whole = scan_of(holdout=None)
    factors = [
        solve(payload_of(tiny_file, tmp_path / str(number), n_iterations=6, seed=seed), [whole])[0].metrics[
            "r_factor"
        ]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert factors[0] == factors[1] != factors[2]


@pytest.mark.proves("reconstruction_window", seen="so many pixels are trimmed from its border as well")
def test_the_border_is_trimmed(tiny_file: Path, tmp_path: Path) -> None:
    whole, trimmed = (run(tiny_file, tmp_path / str(n), reconstruction_window=n) for n in (0, 7))
    np.testing.assert_array_equal(trimmed.object, whole.object[7:-7, 7:-7])


@pytest.mark.proves(
    "accelerator", seen="the solver refuses one that the machine lacks, before its folder is made"
)
@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has it")
def test_an_accelerator_is_the_one_named(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="accelerator"):
        run(tiny_file, tmp_path / "out", accelerator="mps")
    assert not (tmp_path / "out").exists()


@pytest.mark.proves(
    "enable_progress_bar", seen="a bar counts iterations with loss and time left, or there is none"
)
def test_progress_bar(tiny_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tiny_file, tmp_path / "a")
    assert "iteration 3/3" not in capfd.readouterr().err
    run(tiny_file, tmp_path / "b", enable_progress_bar=True)
    shown = capfd.readouterr().err
    assert "tiny: iteration 3/3: 100%" in shown
    assert "deviance" in shown


def deviances(folder: Path) -> Any:
    rows = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return pytest.approx([float(row["deviance_per_pixel"]) for row in rows], rel=1e-6)


@pytest.mark.proves("logger_backend", seen="csv writes a table of the solver's iterations")
def test_csv(tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, logger_backend="csv")
    with (tmp_path / "logs" / "csv" / "version_0" / "metrics.csv").open() as file:
        found = [
            float(row["deviance_per_pixel"]) for row in csv.DictReader(file) if row["deviance_per_pixel"]
        ]
    assert found == deviances(tmp_path)


@pytest.mark.proves("logger_backend", seen="tensorboard opens the iterations and pictures of the solver")
def test_tensorboard(tiny_file: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tiny_file, tmp_path, logger_backend="tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "logs" / "tensorboard" / "version_0"))
    events.Reload()
    assert [event.value for event in events.Scalars("deviance_per_pixel")] == deviances(tmp_path)
    assert events.Tags()["images"]


@pytest.mark.proves("disable_mlflow", seen="the solver writes nothing for mlflow")
def test_mlflow_can_be_disabled(tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, logger_backend="mlflow", disable_mlflow=True)
    assert not list(tmp_path.glob("ml*"))

"""Trainings that do not learn, or end with losses that are no numbers, and those that only look like it."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_torch.cli.main import main
from ptycho_torch.runs.judging import doubt
from ptycho_torch.runs.outcome import problem_of, problem_of_picture, problem_of_prediction
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.runs import trained

NAN = math.nan


def rows(*losses: float | None) -> list[dict[str, float | None]]:
    return [{"epoch": epoch, "train_loss": loss, "val_loss": None} for epoch, loss in enumerate(losses)]


@pytest.mark.parametrize(
    "losses",
    [
        (),
        (0.5,),
        (0.5, 0.5),
        (0.5, 0.6, 0.7, 0.8),
        (0.5, 0.49, 0.6, 0.7, 0.8, 0.9),
        (0.5, 0.4, 0.3, 0.3, 0.3, 0.3),
        (0.50001, 0.5, 0.50001, 0.50001, 0.50001, 0.50001),
        (-2.0, -2.1, -2.1),
        (None, None, None),
    ],
)
def test_a_sound_training_is_sound(losses: tuple[float, ...]) -> None:
    assert problem_of(rows(*losses)) is None


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ((0.5, 0.5, 0.5), "got 0.5 in all of 3 epochs"),
        ((0.5, 0.6, 0.5, 0.7, 0.8), "got 0.5 in the first epoch, and never less in the 4 after it"),
        ((0.5, 0.4, NAN), "got nan in epoch 3, after 2 sound epochs"),
        ((math.inf,), "got inf in epoch 1, after 0 sound epochs"),
    ],
)
def test_what_is_wrong_is_named_with_its_usual_causes(losses: tuple[float, ...], words: str) -> None:
    problem = problem_of(rows(*losses))
    assert problem is not None
    assert words in problem
    assert "learning_rate" in problem


class Spoils(Callback):
    """Makes the weights no numbers after some epochs."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            with torch.no_grad():
                for weights in pl_module.model.network.parameters():
                    weights.fill_(NAN)


@pytest.mark.integration
@pytest.mark.usefixtures("legacy")
def test_after_a_loss_that_is_no_number_the_best_weights_are_saved_and_named(
    tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = trained(tiny_file, tmp_path, Spoils())
    assert result.problem is not None
    assert "after 2 sound epochs" in result.problem
    assert str(result.bundle) in result.problem
    assert result.checkpoint is not None
    assert result.checkpoint.name in result.problem
    assert all(value.isfinite().all() for value in result.module.state_dict().values())
    assert len(result.history) == 3
    assert result.problem in (tmp_path / "run.log").read_text()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--learning-rate=1e-30", "--optimizer=sgd", "--nepochs=5"), 3, "expected a loss that falls"),
        (
            ("--learning-rate=1e30", "--optimizer=sgd", "--nepochs=5"),
            3,
            "expected a rate at which the loss stays finite",
        ),
        (("--learning-rate=0.3", "--nepochs=4"), 3, "The model does not predict the patterns"),
        (("--learning-rate=1e-5", "--nepochs=5"), 0, ""),
    ],
)
def test_the_command_exits_as_the_training_went(
    flags: tuple[str, ...],
    code: int,
    words: str,
    tiny_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = (
        "--n-unrolled-steps=1",
        "--n-filters-scale=1",
        "--accelerator=cpu",
        "--gridsize=1",
    )
    warm = ("--lr-warmup-epochs=0", "--n-groups=24", f"--output-dir={tmp_path / 'run'}")
    with legacy_dictionary_restored():
        assert main(["train", str(tiny_file), *small, *warm, *flags]) == code
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert words in last


@pytest.mark.integration
def test_a_training_that_came_to_nothing_is_no_success_later_either(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = (
        "--n-unrolled-steps=1",
        "--n-filters-scale=1",
        "--accelerator=cpu",
        "--gridsize=1",
        "--n-groups=24",
    )
    line = [
        "train",
        str(tiny_file),
        "--output-dir=run",
        "--resume=auto",
        "--nepochs=4",
        "--learning-rate=0.3",
    ]
    told = []
    with legacy_dictionary_restored():
        for _ in range(2):
            assert main([*line, *small, "--lr-warmup-epochs=0"]) == 3
            told.append(capsys.readouterr().err.strip().split("\n")[-1])
        assert told[0] == told[1]
        assert told[0].startswith("ptycho train: run/wts.h5.zip: r_factor: expected less than ")
        assert main(["doctor", "run"]) == 3
        assert "run: no file has changed.\nrun/wts.h5.zip: r_factor" in capsys.readouterr().out
        Path("elsewhere").mkdir()
        Path("run/wts.h5.zip").rename("elsewhere/wts.h5.zip")
        assert main(["reconstruct", "elsewhere", str(tiny_file), "--accelerator=cpu"]) == 3
        assert "elsewhere: its training did not learn: r_factor" in capsys.readouterr().err


def figures_beside(r_factor: float, deviance: float, mean_r: float, mean_deviance: float) -> dict[str, Any]:
    names = ("r_factor", "poisson_deviance_per_pixel")
    figures = dict(zip(names, (r_factor, deviance), strict=True))
    means = zip(names, (mean_r, mean_deviance), strict=True)
    return figures | {f"mean_pattern_{name}": value for name, value in means}


@pytest.mark.parametrize(
    ("r_factor", "deviance", "mean_r", "mean_deviance", "is_wrong"),
    [
        (0.28, 15.0, 0.33, 21.0, False),
        (0.32, 26.0, 0.33, 21.0, False),  # after two epochs of a small network
        (0.60, 40.0, 0.33, 21.0, False),
        (0.71, 60.0, 0.33, 21.0, True),
        (0.87, 128.0, 0.33, 21.0, True),
        (0.70, 10.0, 0.33, 21.0, False),
        (1.59, 0.13, 1.19, 0.85, False),  # few photons: R does not rank
        (1.59, 0.90, 1.19, 0.85, False),
        (0.75, 1086.0, 0.57, 475.0, False),
        (0.99, 1086.0, 0.57, 475.0, True),
        (math.nan, math.nan, 0.33, 21.0, True),  # no light is predicted
        (0.9, 9.0, math.nan, math.nan, False),  # one pattern
        (math.nan, 2e-6, math.nan, 2e-6, True),  # no light was measured
    ],
)
def test_a_model_that_predicts_far_worse_than_the_mean_pattern_has_not_learned(
    r_factor: float, deviance: float, mean_r: float, mean_deviance: float, is_wrong: bool
) -> None:
    figures = figures_beside(r_factor, deviance, mean_r, mean_deviance)
    assert (problem_of_prediction(figures) is not None) is is_wrong
    assert problem_of_prediction({}) is None


@pytest.mark.parametrize(
    ("r_factor", "deviance", "is_wrong"),
    [
        (0.1, 2.0, False),
        (0.3, 2.0, False),  # few photons: R does not rank
        (0.1, 9.0, False),
        (0.3, 9.0, True),
        (0.2, 8.0, True),
        (math.nan, math.nan, True),
    ],
)
def test_a_picture_that_predicts_no_better_than_the_mean_pattern_is_wrong(
    r_factor: float, deviance: float, is_wrong: bool
) -> None:
    assert (problem_of_picture(figures_beside(r_factor, deviance, 0.2, 8.0)) is not None) is is_wrong
    unknown = figures_beside(r_factor, deviance, math.nan, math.nan)
    assert problem_of_picture(unknown) is None  # a scan of one pattern
    several = problem_of_picture(unknown | {"n_patterns": 7, "patterns": "held out"})
    assert several is not None
    assert several.startswith(
        "r_factor: expected patterns with light to judge by; got none among the 7 patterns"
    )


@pytest.mark.parametrize(("per_unknown", "is_wrong"), [(0.4, False), (40.0, True)])
def test_a_dose_that_limits_a_scan_with_a_warning_is_no_problem_and_data_left_unexplained_are_one(
    per_unknown: float, is_wrong: bool
) -> None:
    warning = {"name": "hot_pixels", "sentence": "5 pixels are masked", "remedy": "Check them."}
    of_dose = {"deviance_per_unknown": per_unknown, "photons_per_pattern": 100.0}
    figures = figures_beside(0.18, 7.0, 0.2, 8.0) | of_dose | {"unexplained": 0.86, "noticed": [warning]}
    assert (problem_of_picture(figures, with_model=False) is not None) is is_wrong
    assert problem_of_picture(figures | {"noticed": []}, with_model=False) is None
    assert problem_of_picture(figures) is None


@pytest.mark.parametrize("problem", [problem_of_picture, problem_of_prediction])
def test_equal_patterns_are_named_as_such(problem: Callable[..., str | None]) -> None:
    told = problem(figures_beside(8e-4, 0.9, 1e-8, 0.8))
    assert told is not None
    assert told.startswith("patterns: expected patterns that differ; got equal ones")


@pytest.mark.integration
@pytest.mark.usefixtures("legacy")
@pytest.mark.parametrize("settings", [{}, {"val_split": 0.5}, {"precision": "64-true"}, {"gridsize": 2}])
def test_a_short_training_is_sound_and_its_agreement_is_in_the_log(
    settings: dict[str, Any], tiny_file: Path, tmp_path: Path
) -> None:
    result = trained(tiny_file, tmp_path, nepochs=1, **settings)
    assert result.problem is None
    kind = "validation" if settings.get("val_split") == 0.5 else "training"
    line = re.search(
        rf"r_factor (\S+) on \d+ {kind} patterns, that of the mean pattern (\S+)",
        (tmp_path / "run.log").read_text(),
    )
    assert line is not None
    found, mean = map(float, line.groups())
    assert 0 < found < 2 * mean


def test_so_few_patterns_that_all_are_fitted_are_told_as_no_judgement() -> None:
    fitted = figures_beside(0.03, 0.1, 0.3, 8.0) | {"unexplained": 0.0, "patterns": "fitted"}
    found = doubt(fitted | {"n_patterns": 2}, "solver")
    assert found is not None
    assert found.text.startswith("the picture cannot be judged: 2 patterns are too few to set some aside")
    for n, kind in ((1, "solver"), (10, "solver"), (2, "network")):
        assert doubt(fitted | {"n_patterns": n}, kind) is None

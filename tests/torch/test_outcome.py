"""Trainings that do not learn, or end with losses that are no numbers, and those that only look like it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_torch.cli.main import main
from ptycho_torch.runs.outcome import problem_of, problem_of_picture
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
        (("--learning-rate=1e-30", "--optimizer=sgd"), 3, "expected a loss that falls"),
        (("--learning-rate=1e30", "--optimizer=sgd"), 3, "expected a rate at which the loss stays finite"),
        (("--learning-rate=1e-5",), 0, ""),
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
        "--nepochs=5",
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
    names = ("r_factor", "poisson_deviance_per_pixel")
    figures = dict(zip(names, (r_factor, deviance), strict=True))
    figures |= {f"mean_pattern_{name}": value for name, value in zip(names, (0.2, 8.0), strict=True)}
    assert (problem_of_picture(figures) is not None) is is_wrong
    unknown = figures | {f"mean_pattern_{name}": math.nan for name in names}
    assert problem_of_picture(unknown) is None  # a scan of one pattern

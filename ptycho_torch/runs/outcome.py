"""Whether a training or a reconstruction came to something: by losses and weights, and by predicted patterns."""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from ptycho.config.errors import Failure, printable
from ptycho.frame_verdicts import EQUAL, OF_EQUAL
from ptycho.judgement import CAUSES, NOTICED, dose_in_words, is_limited_by_dose, likely_causes
from ptycho.wording import counted
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.runs.judging import doubt, noticed_in_words
from ptycho_torch.stopping import DivergedError

log = logging.getLogger(__name__)

CONSTANT: Final = 1e-6
"""Relative spread of losses that are the same number but for the rounding of 32 bits."""
LEAST_EPOCHS, LEAST_FALLING = 3, 5
"""Epochs after which a constant loss, and one that never fell, count as a failure."""
HOPELESS: Final = 2.0
"""A trained model whose R factor is so many times that of the mean pattern has learned nothing."""

_CAUSES: Final = (
    "Usual causes: a learning_rate that is too high or far too low, patterns read in the wrong measurement_domain, or "
    "a probe that does not belong to the scan"
)

_EQUAL: Final = ". ".join(OF_EQUAL).rstrip(".")
_DARK: Final = "r_factor: expected patterns with light to judge by; got none among"
_LIGHT: Final = "Hold out others, or look for a closed shutter or a lost beam there"


def problem_of(history: Sequence[Mapping[str, float | None]]) -> str | None:
    """What is wrong with a training, from its history (`LossHistory`); None where nothing is.

    A loss that is not finite in the last epoch; a training loss that is the same in all of 3 or more epochs; and one
    that in 5 or more epochs was never below that of the first. Fewer epochs tell nothing, and a training that goes on
    is judged by all of its epochs, so that one which has converged is sound.
    """
    if not history:
        return None
    for name in ("train_loss", "val_loss"):
        value = history[-1].get(name)
        if value is not None and not math.isfinite(value):
            epoch = next(index for index, row in enumerate(history, 1) if not _is_sound(row))
            return (
                f"{name}: expected a number; got {value} in epoch {len(history)}, after "
                f"{counted(epoch - 1, 'sound epoch')}. Usual causes: a learning_rate that is too high (lower it, or "
                "set gradient_clip_val), or 16 bits (precision)"
            )
    losses = [loss for row in history if (loss := row.get("train_loss")) is not None]
    if len(losses) >= LEAST_EPOCHS and max(losses) - min(losses) <= CONSTANT * abs(losses[0]):
        return f"train_loss: expected a loss that falls; got {losses[0]:.6g} in all of {len(losses)} epochs. {_CAUSES}"
    if len(losses) >= LEAST_FALLING and min(losses[1:]) >= losses[0]:
        return (
            f"train_loss: expected a loss that falls; got {losses[0]:.6g} in the first epoch, and never less in the "
            f"{len(losses) - 1} after it. {_CAUSES}"
        )
    return None


def _is_sound(row: Mapping[str, float | None]) -> bool:
    return all(value is None or math.isfinite(value) for value in row.values())


def problem_of_prediction(figures: Mapping[str, float]) -> str | None:
    """What is wrong with a trained model, from the patterns it predicts (`predicted_figures`); None where nothing is.

    After a short training a model predicts about as well as the mean of the other patterns does, and goes on from
    there. Here it is far worse by its R factor, nearer to that of a dark prediction, and worse by its deviance too; or
    no pattern that judges has light.
    """
    pairs = _pairs(figures)
    if pairs and math.isfinite(pairs[1][1]) and not math.isfinite(pairs[0][1]):
        return f"{_DARK} those that judge the training. {_LIGHT}"
    if not pairs or not all(math.isfinite(mean) and not found < mean for found, mean in pairs):
        return None
    found, mean = pairs[0]
    if mean < EQUAL:
        return _EQUAL
    bound = min(HOPELESS * mean, (1 + mean) / 2)
    if mean >= 1 or found < bound:
        return None
    return (
        f"r_factor: expected less than {bound:.4f} (the mean of the other patterns reaches {mean:.4f} without any "
        f"object); got {found:.4f}. The model does not predict the patterns. {_CAUSES}"
    )


def verdict_on(
    history: Sequence[Mapping[str, float | None]], figures: Mapping[str, float], checkpoint: Path | None
) -> str | None:
    """Why a training came to nothing, and which weights its model has, for its bundle; None where it is sound."""
    problem = problem_of(history) or problem_of_prediction(figures)
    weights = "the last epoch" if checkpoint is None else checkpoint.name
    return None if problem is None else f"{problem}. The model has the weights of {weights}."


def tell_verdict(bundle: Path, verdict: str | None) -> str | None:
    """Log why the training of a model came to nothing, and give the line; None where it is sound."""
    if verdict is None:
        return None
    problem = f"{printable(str(bundle))}: {verdict}"
    log.error("%s", problem)
    return problem


def problem_of_picture(figures: Mapping[str, Any], *, with_model: bool = True) -> str | None:
    """What is wrong with a reconstruction, from its figures (`metrics.json`); None where nothing is.

    It predicts the patterns no better than the mean of the others does, without any object: neither by its R factor
    nor by its deviance. A scan of one pattern tells nothing here, and several patterns without light are wrong.
    Without a model, which may be at fault: it does not explain the patterns, and something was noticed when the scan
    was read.
    """
    pairs = _pairs(figures)
    if pairs and figures.get("n_patterns", 1) > 1 and not math.isfinite(pairs[0][1]):
        return f"{_DARK} the {figures['n_patterns']} patterns ({figures['patterns']}). {_LIGHT}"
    if not all(math.isfinite(mean) and not found < mean for found, mean in pairs):
        verdict = None if with_model or not figures.get(NOTICED) else doubt(figures, "solver")
        is_unexplained = verdict is not None and verdict.name == "unexplained"
        return verdict.text.rstrip(".") if is_unexplained else None
    found, mean = pairs[0]
    if mean < EQUAL:
        return _EQUAL
    dose = [f"{dose_in_words(figures)}."] if is_limited_by_dose(figures) else []
    told = (
        "the picture is not that of the object: it predicts patterns no better than the mean of the others does, "
        f"without any object (R factor {found:.4f}, that of the mean pattern {mean:.4f})."
    )
    kind, noticed = ("network" if with_model else "solver"), noticed_in_words(figures)
    return " ".join([told, *dose, f"{CAUSES}{'; '.join(likely_causes(figures, kind, noticed))}"])


def warn_of(problem: str | None) -> str | None:
    """Warn whoever called from Python of a training or a picture that came to nothing; gives the problem back."""
    if problem is not None:
        warnings.warn(problem, UserWarning, stacklevel=3)
    return problem


def _pairs(figures: Mapping[str, Any]) -> list[tuple[float, float]]:
    """R factor and deviance, each beside that of the mean pattern; nothing where they were not measured."""
    names = ("r_factor", "poisson_deviance_per_pixel") if "r_factor" in figures else ()
    return [(figures[name], figures[f"mean_pattern_{name}"]) for name in names]


def refuse_diverged(module: PtychoPINN_Lightning) -> None:
    """Refuse to save a model whose weights are not finite.

    Raises:
        DivergedError: the training diverged.
    """
    if all(torch.isfinite(value).all() for value in module.state_dict().values()):
        return
    execution = module.execution_config
    message = (
        f"learning_rate: expected a rate at which the loss stays finite; got {execution.learning_rate:g} from "
        f"{execution.sources['learning_rate']}, and weights that are not finite. Lower it, or set gradient_clip_val."
    )
    raise DivergedError([Failure("learning_rate", message)])

"""Which checkpoint of a run is the latest and which is the best, by what each says of itself.

Names and times of files decide nothing, since neither survives every copy. Only a sound checkpoint counts: one that is
as it was written, of this program, and whose weights and optimizer hold finite numbers.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import Tensor

from ptycho.config.errors import ConfigError, Failure, printable, show
from ptycho.wording import counted
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.runtime import (
    LAST,
    UNDER_WAY,
    CheckpointError,
    read_description,
    refuse_damaged,
    unreadable,
)

log = logging.getLogger(__name__)

SECTIONS: Final = ("model_config", "data_config", "training_config", "execution_config")
"""What a checkpoint holds of the settings of its training."""

_STATES: Final = ("optimizer_states", "lr_schedulers", "loops")
"""What Lightning goes on from, beside the weights."""


class Checkpoint(NamedTuple):
    """A checkpoint of a training."""

    path: Path
    content: Mapping[str, Any]
    passed_over: Sequence[str] = ()
    """Names of the files that are not sound and might have been later."""

    @property
    def rows(self) -> list[dict[str, float | None]]:
        """The history up to it, one row an epoch."""
        return self.content["callbacks"]["LossHistory"]["rows"]

    @property
    def epochs_done(self) -> int:
        """Epochs that were trained for it."""
        return len(self.rows)

    @property
    def batches_done(self) -> int:
        """Batches of the next epoch that it was trained on."""
        return self.content.get(UNDER_WAY, {}).get("batches", 0)

    @property
    def n_processes(self) -> int | None:
        """How many trained it; None for one of whole epochs, which says nothing of it."""
        means = self.content.get(UNDER_WAY, {}).get("means", {})
        return next((len(mean["totals"]) for mean in means.values()), None)

    @property
    def age(self) -> tuple[int, int, bool]:
        """Orders the checkpoints of a run, the latest last."""
        return self.epochs_done, self.content["global_step"], self.path.stem == LAST

    @property
    def monitored(self) -> str | None:
        """The metric that tells its best checkpoints; None where none is kept."""
        if self.content["hyper_parameters"]["execution_config"].get("checkpoint_save_top_k") == 0:
            return None
        states = self.content["callbacks"].values()
        return next((state["monitor"] for state in states if state.get("monitor")), None)

    @property
    def rises(self) -> bool:
        """Whether a larger value of that metric is better."""
        return self.content["hyper_parameters"]["execution_config"].get("checkpoint_mode") == "max"


def latest(folder: Path, n_processes: int | None = None) -> Checkpoint:
    """The sound checkpoint that was trained longest; the log tells which were passed over, and why.

    Args:
        folder: the checkpoints of one run.
        n_processes: those that the training goes on with, which decide the groups that are left of an epoch; None: any.

    Raises:
        ConfigError: there is no checkpoint; or each is damaged or not finite.
    """
    found, faults = _described(folder)
    for checkpoint in sorted(found, key=lambda one: one.age, reverse=True):
        try:
            _refuse_other_processes(checkpoint, n_processes)
            _refuse_unsound(checkpoint)
        except CheckpointError as fault:
            faults.append(fault)
            continue
        except FileNotFoundError:
            continue  # a training removed it meanwhile
        for fault in faults:
            log.warning("passed over: %s", fault)
        if faults:
            log.warning(
                "the latest sound checkpoint is %s, from %s",
                printable(str(checkpoint.path)),
                counted(checkpoint.epochs_done, "epoch"),
            )
        return checkpoint._replace(passed_over=[fault.path.name for fault in faults])
    if faults:
        raise ConfigError([failure for fault in faults for failure in fault.failures])
    message = f"{folder}: expected a checkpoint to resume from; got none."
    way_out = (
        "A checkpoint is written after every epoch, unless save_last_checkpoint is off. Start a new run."
    )
    raise ConfigError([Failure(str(folder), f"{message} {way_out}")])


def best(folder: Path) -> Path:
    """The sound checkpoint with the best value of the metric that the run monitors; of several, the earliest.

    Where the run keeps no best checkpoint, or none has a value, it is the latest.

    Args:
        folder: the checkpoints of one run.

    Raises:
        ConfigError: as for `latest`.
    """
    last = latest(folder)
    scored = sorted(_scored(folder, last), key=lambda pair: (pair[0], pair[1].age))
    for _, checkpoint in scored:
        try:
            _refuse_unsound(checkpoint)
        except (CheckpointError, FileNotFoundError):
            continue
        return checkpoint.path
    return last.path


def _scored(folder: Path, last: Checkpoint) -> Iterator[tuple[float, Checkpoint]]:
    """The checkpoints of a run, each with a value that is the smaller, the better it is."""
    metric = last.monitored
    for checkpoint in _described(folder)[0] if metric else ():
        value = checkpoint.rows[-1].get(str(metric)) if checkpoint.rows else None
        if value is not None and math.isfinite(value) and not checkpoint.batches_done:
            yield -value if last.rises else value, checkpoint


def _described(folder: Path) -> tuple[list[Checkpoint], list[CheckpointError]]:
    """The checkpoints in a folder, their tensors unread; and what is wrong with the files that are none."""
    found: list[Checkpoint] = []
    faults: list[CheckpointError] = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            checkpoint = Checkpoint(path, dict(read_description(path)))
            _check_description(checkpoint)
        except CheckpointError as fault:
            faults.append(fault)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(unreadable(path, error))
        except FileNotFoundError:
            continue  # a training removed it meanwhile
        else:
            found.append(checkpoint)
    return found, faults


def _check_description(checkpoint: Checkpoint) -> None:
    """Look for what is asked of a checkpoint.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it lacks something, or has something else in its place.
    """
    content = checkpoint.content
    _ = checkpoint.monitored, content["state_dict"].values()
    _ = [content["hyper_parameters"][section].values() for section in SECTIONS]
    if missing := [name for name in _STATES if name not in content]:
        raise KeyError(*missing)
    if not isinstance(content["global_step"], int):
        raise TypeError(f"a number of steps that is {show(content['global_step'])}")
    numbers = [value for row in checkpoint.rows for value in row.values()]
    numbers += [content["callbacks"]["LossHistory"].get(name) for name in ("learning_rate", "seconds")]
    if not all(isinstance(value, int | float | None) for value in numbers):
        raise TypeError("a history that holds more than numbers")
    if UNDER_WAY in content:
        _check_under_way(content[UNDER_WAY])


def _check_under_way(held: Mapping[str, Any]) -> None:
    """Look for what is asked of the epoch under way.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it lacks something, or has something else in its place.
    """
    means = held["means"].values()
    counts = [held["batches"], *(mean["n_samples"] for mean in means)]
    if not all(isinstance(count, int) and count > 0 for count in counts):
        raise ValueError("an unfinished epoch without a number of batches or groups")
    if not all(isinstance(total, float) for mean in means for total in mean["totals"]):
        raise TypeError("means with more than numbers")
    if held["means"].keys() != {PtychoPINN_Lightning.loss_name}:
        raise ValueError("means other than that of the training loss")


def _refuse_other_processes(checkpoint: Checkpoint, n_processes: int | None) -> None:
    held = checkpoint.n_processes
    if None not in (held, n_processes) and held != n_processes:
        message = f"expected whole epochs, or the part of one that {n_processes} processes trained; got that of {held}."
        raise CheckpointError(checkpoint.path, f"{message} Continue with {held} devices (n_devices).")


def _refuse_unsound(checkpoint: Checkpoint) -> None:
    refuse_damaged(checkpoint.path)
    if not all(value.isfinite().all() for value in _tensors(checkpoint.content)):
        message = "expected finite weights; got a training that has diverged."
        way_out = "Start a new run with a lower learning_rate, or set gradient_clip_val."
        raise CheckpointError(checkpoint.path, f"{message} {way_out}")


def _tensors(content: Mapping[str, Any]) -> Iterator[Tensor]:
    """The weights and the state of the optimizers."""
    yield from content["state_dict"].values()
    for optimizer in content["optimizer_states"]:
        for state in optimizer["state"].values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

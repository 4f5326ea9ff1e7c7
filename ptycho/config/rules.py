"""What does not go together among the settings of one run, canonical fields and knobs alike."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho.config.errors import Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.config.render import text
from ptycho.config.report import with_lines
from ptycho.config.validated import section_of, vocabulary


@dataclass(frozen=True)
class Said:
    """The settings of a run, and how messages speak of them."""

    values: Mapping[str, Any]
    """Field or knob -> value; those that are wrong by themselves are absent."""
    origin: Callable[[str], str]
    """Words where a value came from."""
    section: str
    """Of the fields of the run (`training`, `inference`); those of the model are in `model`."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def needs(self, name: str, rule: str, other: str, way_out: str) -> Failure:
        """Word the failure for a value that another one contradicts.

        Args:
            name: a field of the run, or a knob.
            rule: what its value needs.
            other: the setting that stands against it.
            way_out: what to do.
        """
        label = name if name in PyTorchExecutionConfig.model_fields else f"{self.section}.{name}"
        value, against = text(self[name]), text(self[other])
        message = f"{label}: {value} ({self.origin(name)}) needs {rule}; {other} is {against} ({self.origin(other)})."
        return Failure(label, f"{message} {way_out}")


def said_by(
    config: TrainingConfig | InferenceConfig, execution: PyTorchExecutionConfig | None = None
) -> Said:
    """The settings of ready configurations; a field, which does not tell where it is from, is an argument."""
    parts = (config.model, config)
    fields = {name: getattr(part, name) for part in parts for name in vocabulary(type(part)).scalars}
    knobs: dict[str, Any] = {} if execution is None else execution.to_dict()
    origins: dict[str, Origin] = {} if execution is None else execution.sources

    def origin(name: str) -> str:
        return str(origins.get(name, "argument"))

    return Said({**fields, **knobs}, origin, section_of(type(config)))


def conflicts(said: Said) -> Iterator[Failure]:
    """Find what does not go together.

    Args:
        said: the settings; a rule that asks for one that is absent does not apply.

    Returns:
        The failures.
    """
    for names, rule in _RULES.items():
        if said.values.keys() >= set(names):
            yield from rule(said)


def conflicts_between(
    values: Mapping[str, Any], origins: Mapping[str, Origin], section: str
) -> Iterator[Failure]:
    """Find what does not go together among resolved settings, and quote the lines of files that it is about.

    Args:
        values: field or knob -> value, of those that are right by themselves.
        origins: field or knob -> where it came from; absent: the default.
        section: of the fields of the run.
    """
    return with_lines(
        lambda word: conflicts(Said(values, word, section)),
        lambda name: origins.get(name, Origin("default")),
    )


def idle_settings(said: Said) -> Iterator[Failure]:
    """Find what is without effect beside another setting, and harmless; a run warns of it where somebody set it."""
    for names, (other, holds) in _IDLE.items():
        for name in names:
            if said.values.keys() >= {name, other} and holds(said):
                value, against = text(said[name]), text(said[other])
                message = (
                    f"{name}: {value} has no effect while {other} is {against}. Drop it, or change {other}."
                )
                yield Failure(name, message)


def _warm_up_without_plateaus(said: Said) -> Iterator[Failure]:
    if said["lr_warmup_epochs"] > 0 and said["scheduler"] == "Adaptive":
        rule = "a scheduler other than Adaptive, which follows the loss"
        way_out = "Set lr_warmup_epochs to 0, or choose another scheduler."
        yield said.needs("lr_warmup_epochs", rule, "scheduler", way_out)


def _warm_up_within_the_training(said: Said) -> Iterator[Failure]:
    warm_up = said["lr_warmup_epochs"]
    if warm_up >= said["nepochs"] and said["scheduler"] != "Adaptive":
        way_out = "Shorten the warm-up, or train longer."
        yield said.needs("lr_warmup_epochs", f"nepochs > {warm_up}", "nepochs", way_out)


def _decay_above_zero(said: Said) -> Iterator[Failure]:
    if said["lr_min_ratio"] <= 0 and said["scheduler"] in ("Exponential", "MultiStage"):
        rule = "a scheduler whose rate does not end at a factor of lr_min_ratio"
        way_out = "Set lr_min_ratio > 0, for example to 0.1, or choose another scheduler."
        yield said.needs("lr_min_ratio", rule, "scheduler", way_out)


def _some_loss(said: Said) -> Iterator[Failure]:
    """The patterns have to count; a supervised training goes by its labels instead."""
    by_patterns = said["model_type"] == "pinn" and said["torch_loss_mode"] == "poisson"
    if by_patterns and said["nll_weight"] == 0 and said["mae_weight"] == 0:
        way_out = "Without a loss nothing is learned. Set one of the two > 0."
        yield said.needs("nll_weight", "mae_weight > 0", "mae_weight", way_out)


def _probe_that_is_used(said: Said) -> Iterator[Failure]:
    if said["probe_trainable"] and (said["model_type"], said["architecture"]) == ("supervised", "cnn"):
        rule = "a loss that depends on the probe: model_type pinn, or with supervised an architecture other than cnn"
        yield said.needs(
            "probe_trainable", rule, "architecture", "Set probe_trainable to false, or change one of the two."
        )


def _positions_for_a_group(said: Said) -> Iterator[Failure]:
    drawn, members = said["n_subsample"], said["gridsize"] ** 2
    if said.section == "training" and drawn is not None and drawn < members:
        way_out = f"Raise n_subsample to {members} or more, or lower gridsize."
        yield said.needs("n_subsample", f"gridsize <= {math.isqrt(drawn)}", "gridsize", way_out)


def _enough_neighbors(said: Said) -> Iterator[Failure]:
    yield from _members_of(
        said, "neighbor_count" if said["neighbor_pool_size"] is None else "neighbor_pool_size"
    )


def _enough_neighbors_of_some_groups(said: Said) -> Iterator[Failure]:
    """A reconstruction without a number of groups predicts single patterns, and forms no groups."""
    if said.section == "inference" and said["n_groups"] is not None:
        yield from _members_of(said, "neighbor_count")


def _members_of(said: Said, pool: str) -> Iterator[Failure]:
    others = said["gridsize"] ** 2 - 1
    if said[pool] < others:
        rule = f"gridsize <= {math.isqrt(said[pool] + 1)}"
        yield said.needs(pool, rule, "gridsize", f"Raise {pool} to {others} or more, or lower gridsize.")


def _backend_of_this_distribution(said: Said) -> Iterator[Failure]:
    if said["backend"] == "tensorflow":
        label = f"{said.section}.backend"
        message = f"{label}: expected pytorch; got tensorflow from {said.origin('backend')}."
        yield Failure(label, f"{message} This distribution holds no tensorflow backend. Set pytorch.")


def _trim_within_the_patch(said: Said) -> Iterator[Failure]:
    trim, n_pixels = said["middle_trim"], said["N"]
    if trim > n_pixels > 0:
        way_out = "Choose a smaller one, or 0 for the whole patch."
        yield said.needs("middle_trim", f"patches of {trim} pixels or more", "N", way_out)


_RULES: Final[Mapping[tuple[str, ...], Callable[[Said], Iterator[Failure]]]] = {
    ("lr_warmup_epochs", "scheduler"): _warm_up_without_plateaus,
    ("lr_warmup_epochs", "scheduler", "nepochs"): _warm_up_within_the_training,
    ("lr_min_ratio", "scheduler"): _decay_above_zero,
    ("model_type", "torch_loss_mode", "nll_weight", "mae_weight"): _some_loss,
    ("probe_trainable", "model_type", "architecture"): _probe_that_is_used,
    ("n_subsample", "gridsize"): _positions_for_a_group,
    ("neighbor_count", "neighbor_pool_size", "gridsize"): _enough_neighbors,
    ("neighbor_count", "n_groups", "gridsize"): _enough_neighbors_of_some_groups,
    ("backend",): _backend_of_this_distribution,
    ("middle_trim", "N"): _trim_within_the_patch,
}
"""The settings that a rule is about -> the rule."""

_IDLE: Final[Mapping[tuple[str, ...], tuple[str, Callable[[Said], bool]]]] = {
    ("probe_big",): ("pad_object", lambda said: not said["probe_big"] and not said["pad_object"]),
    ("n_unrolled_steps", "n_physics_steps"): ("architecture", lambda said: said["architecture"] == "cnn"),
    ("probe_mask_sigma", "probe_mask_diameter"): ("probe_mask", lambda said: not said["probe_mask"]),
    ("nll_weight", "mae_weight", "realspace_weight", "realspace_mae_weight", "torch_loss_mode"): (
        "model_type",
        lambda said: said["model_type"] == "supervised",
    ),
    ("momentum",): ("optimizer", lambda said: said["optimizer"] != "sgd"),
    ("adam_beta1", "adam_beta2"): ("optimizer", lambda said: said["optimizer"] == "sgd"),
    ("lr_min_ratio",): ("scheduler", lambda said: said["scheduler"] in ("Default", "Adaptive")),
    ("plateau_factor", "plateau_patience", "plateau_min_lr", "plateau_threshold"): (
        "scheduler",
        lambda said: said["scheduler"] != "Adaptive",
    ),
}
"""Settings -> the one beside which they are without effect, and when."""

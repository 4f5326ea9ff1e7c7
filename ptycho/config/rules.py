"""What does not go together among the settings of one run: names and values in, conflicts out."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from ptycho.config.errors import Failure
from ptycho.config.fields import text
from ptycho.config.origins import Origin
from ptycho.config.resolve import Origins, worded
from ptycho.config.section import Conflict, section_of
from ptycho.config.views import Views

Values: TypeAlias = Mapping[str, Any]
"""Name -> value, of the settings of one run; of all its sections together."""


def conflicts(values: Values) -> Iterator[Conflict]:
    """Find what does not go together, beyond the rules that a section has of its own.

    Args:
        values: Those that are right by themselves; a rule that asks for one that is absent does not apply.
    """
    for names, rule in _RULES.items():
        if values.keys() >= set(names):
            yield from rule(values)


def conflicts_of(*settings: Views) -> list[Failure]:
    """Find what does not go together among settings that are ready.

    Args:
        settings: Those of one run: of its model, of the training or the reconstruction, and how it is run.
    """
    sections = [section_of(type(one)) for one in settings]
    values, origins = values_of(*settings), dict[str, Origin]()
    for one in settings:
        origins |= one.sources
    return worded(conflicts(values), values, Origins(sections, origins))


def values_of(*settings: Views) -> dict[str, Any]:
    """The values of settings that share no name."""
    return {name: getattr(one, name) for one in settings for name in section_of(type(one)).fields}


def idle_settings(values: Values) -> Iterator[Failure]:
    """Find what is without effect beside another setting, and harmless; a run warns of it where somebody set it."""
    for names, (other, holds) in _IDLE.items():
        for name in names:
            if values.keys() >= {name, other} and holds(values):
                value, against = text(values[name]), text(values[other])
                words = f"{value} has no effect while {other} is {against}. Drop it, or change {other}."
                yield Failure.of(name, words)


def _warm_up_without_plateaus(run: Values) -> Iterator[Conflict]:
    if run["lr_warmup_epochs"] > 0 and run["scheduler"] == "Adaptive":
        rule = "a scheduler other than Adaptive, which follows the loss"
        way_out = "Set lr_warmup_epochs to 0, or choose another scheduler."
        yield Conflict("lr_warmup_epochs", rule, "scheduler", way_out, (0,))


def _warm_up_within_the_training(run: Values) -> Iterator[Conflict]:
    warm_up, epochs = run["lr_warmup_epochs"], run["nepochs"]
    if warm_up >= epochs:
        way_out = "Shorten the warm-up, or train longer."
        yield Conflict("lr_warmup_epochs", f"nepochs > {warm_up}", "nepochs", way_out, (epochs - 1,))


def _decay_above_zero(run: Values) -> Iterator[Conflict]:
    if run["lr_min_ratio"] <= 0 and run["scheduler"] in ("Exponential", "MultiStage"):
        rule = "a scheduler that does not end at lr_min_ratio times the learning rate"
        way_out = "Set lr_min_ratio > 0, for example to 0.1, or choose another scheduler."
        yield Conflict("lr_min_ratio", rule, "scheduler", way_out)


def _some_loss(run: Values) -> Iterator[Conflict]:
    """The patterns have to count; a supervised training goes by its labels instead."""
    by_patterns = run["model_type"] == "pinn" and run["torch_loss_mode"] == "poisson"
    if by_patterns and run["nll_weight"] == 0 and run["mae_weight"] == 0:
        way_out = "Training needs a loss. Set one of the two > 0."
        yield Conflict("nll_weight", "mae_weight > 0", "mae_weight", way_out)


def _probe_that_is_used(run: Values) -> Iterator[Conflict]:
    if run["probe_trainable"] and (run["model_type"], run["architecture"]) == ("supervised", "cnn"):
        rule = "a loss that depends on the probe: model_type pinn, or with supervised an architecture other than cnn"
        way_out = "Set probe_trainable to false, or change one of the two."
        yield Conflict("probe_trainable", rule, "architecture", way_out, (False,))


def _positions_for_a_group(run: Values) -> Iterator[Conflict]:
    drawn, members = run["n_subsample"], run["gridsize"] ** 2
    if drawn is not None and drawn < members:
        way_out = f"Raise n_subsample to {members} or more, or lower gridsize."
        rule = f"gridsize <= {math.isqrt(drawn)}"
        yield Conflict("n_subsample", rule, "gridsize", way_out, (members,))


def _enough_neighbors(run: Values) -> Iterator[Conflict]:
    yield from _members_of(
        run, "neighbor_count" if run["neighbor_pool_size"] is None else "neighbor_pool_size"
    )


def _enough_neighbors_of_some_groups(run: Values) -> Iterator[Conflict]:
    """A reconstruction without a number of groups predicts single patterns, and forms no groups."""
    if run["n_groups"] is not None:
        yield from _members_of(run, "neighbor_count")


def _members_of(run: Values, pool: str) -> Iterator[Conflict]:
    others = run["gridsize"] ** 2 - 1
    if run[pool] < others:
        rule = f"gridsize <= {math.isqrt(run[pool] + 1)}"
        way_out = f"Raise {pool} to {others} or more, or lower gridsize."
        yield Conflict(pool, rule, "gridsize", way_out, (others,))


def _backend_of_this_distribution(run: Values) -> Iterator[Conflict]:
    if run["backend"] == "tensorflow":
        yield Conflict(
            "backend", "pytorch", way_out="This distribution has no tensorflow backend. Set pytorch."
        )


def _positions_within_the_run(run: Values) -> Iterator[Conflict]:
    start, n_iterations = run["positions_from"], run["n_iterations"]
    if run["refine_positions"] and n_iterations != "auto" and start >= n_iterations:
        way_out = "Begin earlier, or raise n_iterations."
        yield Conflict("positions_from", f"n_iterations > {start}", "n_iterations", way_out)


def _trim_within_the_patch(run: Values) -> Iterator[Conflict]:
    trim, n_pixels = run["middle_trim"], run["N"]
    if trim > n_pixels > 0:
        way_out = "Choose a smaller one, or 0 for the whole patch."
        yield Conflict("middle_trim", f"patches of {trim} pixels or more", "N", way_out, (n_pixels,))


_RULES: Final[Mapping[tuple[str, ...], Callable[[Values], Iterator[Conflict]]]] = {
    ("lr_warmup_epochs", "scheduler"): _warm_up_without_plateaus,
    ("lr_warmup_epochs", "nepochs"): _warm_up_within_the_training,
    ("lr_min_ratio", "scheduler"): _decay_above_zero,
    ("model_type", "torch_loss_mode", "nll_weight", "mae_weight"): _some_loss,
    ("probe_trainable", "model_type", "architecture"): _probe_that_is_used,
    ("n_subsample", "gridsize", "train_data_file"): _positions_for_a_group,
    ("neighbor_count", "neighbor_pool_size", "gridsize"): _enough_neighbors,
    ("neighbor_count", "n_groups", "gridsize", "model_path"): _enough_neighbors_of_some_groups,
    ("backend",): _backend_of_this_distribution,
    ("middle_trim", "N"): _trim_within_the_patch,
    ("positions_from", "refine_positions", "n_iterations"): _positions_within_the_run,
}
"""The settings that a rule is about, or by which it knows its kind of run -> the rule."""

_IDLE: Final[Mapping[tuple[str, ...], tuple[str, Callable[[Values], bool]]]] = {
    ("probe_big",): ("pad_object", lambda values: not values["probe_big"] and not values["pad_object"]),
    ("n_unrolled_steps", "n_physics_steps"): ("architecture", lambda values: values["architecture"] == "cnn"),
    ("probe_mask_sigma", "probe_mask_diameter"): ("probe_mask", lambda values: not values["probe_mask"]),
    ("nll_weight", "mae_weight", "realspace_weight", "realspace_mae_weight", "torch_loss_mode"): (
        "model_type",
        lambda values: values["model_type"] == "supervised",
    ),
    ("positions_from",): ("refine_positions", lambda values: not values["refine_positions"]),
    ("prior_weight",): ("prior", lambda values: values["prior"] == "none"),
    ("momentum",): ("optimizer", lambda values: values["optimizer"] != "sgd"),
    ("adam_beta1", "adam_beta2"): ("optimizer", lambda values: values["optimizer"] == "sgd"),
    ("lr_min_ratio",): ("scheduler", lambda values: values["scheduler"] in ("Default", "Adaptive")),
    ("plateau_factor", "plateau_patience", "plateau_min_lr", "plateau_threshold"): (
        "scheduler",
        lambda values: values["scheduler"] != "Adaptive",
    ),
}
"""Settings -> the one beside which they are without effect, and when."""

"""What every field accepts: an account of its own, apart from the code that is tested with it."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
LARGEST = 2**63 - 1


class Field(NamedTuple):
    """What one field accepts."""

    valid: st.SearchStrategy[Any]
    accepts: Callable[[Any], bool]
    """Whether a value from Python is one of the field's."""
    reads: Callable[[str], bool]
    """Whether a text means one."""
    is_switch: bool = False
    other_words: Mapping[str, Any] = {}


def field(
    *words: str,
    none: bool = False,
    switch: bool = False,
    whole: tuple[int, int] | None = None,
    real: st.SearchStrategy[float] | None = None,
    within: Callable[[float], bool] = lambda number: True,
    other_words: Mapping[str, Any] | None = None,
) -> Field:
    """A field that takes words, none, true and false, whole numbers, real numbers, or several of these."""
    known = {word.lower() for word in (*words, *(other_words or {}))}
    kinds = [st.sampled_from(words)] if words else []
    kinds += [st.none()] if none else []
    kinds += [st.booleans()] if switch else []
    kinds += [st.sampled_from(whole) | st.integers(*whole)] if whole else []
    kinds += [] if real is None else [real]

    def accepts(value: Any) -> bool:
        if isinstance(value, str):
            return value.lower() in known
        if value is None or type(value) is bool:
            return none if value is None else switch
        if type(value) is int and whole:
            return whole[0] <= value <= whole[1] and within(value)
        return real is not None and type(value) in (int, float) and math.isfinite(value) and within(value)

    def reads(text: str) -> bool:
        word = text.strip().lower()
        if word in known or (none and word in ("none", "null")) or (switch and word in TRUE + FALSE):
            return True
        if re.fullmatch(r"[+-]?\d+", word) and (whole or real is not None):
            return accepts(int(word))
        return re.fullmatch(r"[+-]?\d+\.?\d*(e[+-]?\d+)?", word) is not None and accepts(float(word))

    only_switch = switch and not words
    return Field(st.one_of(kinds), accepts, reads, only_switch, other_words or {})


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.strip().isprintable()


flag = field(switch=True)
line = Field(st.text(min_size=1).map(str.strip).filter(_is_line), _is_line, _is_line)
from_zero, from_one = field(whole=(0, LARGEST)), field(whole=(1, LARGEST))
one_or_none = field(whole=(1, LARGEST), none=True)
seed = field(whole=(0, 2**32 - 1))
above_zero = {
    "real": st.floats(0, exclude_min=True, allow_infinity=False),
    "within": lambda number: number > 0,
}
positive = field(**above_zero)
positive_or_none = field(none=True, **above_zero)
below_one = field(real=st.floats(0, 1, exclude_max=True), within=lambda number: 0 <= number < 1)

KNOBS: dict[str, Field] = {
    "accelerator": field("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "strategy": field(
        *("auto", "ddp", "ddp_spawn", "ddp_notebook", "ddp_find_unused_parameters_true", "fsdp", "deepspeed")
    ),
    "n_devices": field("auto", whole=(1, LARGEST)),
    "deterministic": field("warn", switch=True),
    "num_workers": from_zero,
    "pin_memory": flag,
    "persistent_workers": flag,
    "prefetch_factor": one_or_none,
    "learning_rate": positive,
    "scheduler": field(
        *("Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine"),
        other_words={"Cosine": "WarmupCosine", "ReduceLROnPlateau": "Adaptive"},
    ),
    "gradient_clip_val": positive_or_none,
    "accum_steps": from_one,
    "enable_checkpointing": flag,
    "checkpoint_save_top_k": field(whole=(-1, LARGEST)),
    "checkpoint_monitor_metric": line,
    "early_stop_patience": from_one,
    "enable_progress_bar": flag,
    "logger_backend": field("csv", "tensorboard", "wandb", "mlflow", none=True, other_words={"none": None}),
    "disable_mlflow": flag,
    "inference_batch_size": one_or_none,
    "middle_trim": from_zero,
    "pad_eval": flag,
    "precision": field("32-true", "16-mixed", "bf16-mixed", "64-true"),
    "num_nodes": from_one,
    "num_threads": one_or_none,
    "seed": seed,
    "ddp_backend": field("auto", "nccl", "gloo", "mpi"),
    "ddp_find_unused_parameters": flag,
    "ddp_static_graph": flag,
    "ddp_gradient_as_bucket_view": flag,
    "val_split": below_one,
    "val_split_seed": seed,
    "drop_last_batch": flag,
    "gradient_clip_algorithm": field("norm", "value"),
    "checkpoint_mode": field("min", "max"),
    "check_val_every_n_epoch": from_one,
    "save_last_checkpoint": flag,
    "preview_every": field("auto", whole=(0, LARGEST)),
    "reconstruction_window": from_zero,
}
"""Knob -> what it accepts."""


# The canonical configurations -----------------------------------------------------------------------------------

at_least_zero = field(
    real=st.floats(0, allow_infinity=False, allow_nan=False), within=lambda number: number >= 0
)
MODEL: dict[str, Field] = {
    "N": field(
        whole=(0, LARGEST),
        within=lambda size: size == 0 or (size >= 32 and size % 16 == 0),
    )._replace(valid=st.integers(2, 2**40).map(lambda count: 16 * count)),
    "gridsize": from_one,
    "n_filters_scale": from_one,
    "model_type": field("pinn", "supervised"),
    "architecture": field("unrolled", "cnn"),
    "n_physics_steps": from_one,
    "n_unrolled_steps": from_one,
    "amp_activation": field("sigmoid", "swish", "silu", "softplus", "relu"),
    "object_big": flag,
    "probe_big": flag,
    "pad_object": flag,
    "probe_mask": flag,
    "probe_mask_sigma": at_least_zero,
    "probe_mask_diameter": positive_or_none,
    "probe_scale": positive,
    "gaussian_smoothing_sigma": at_least_zero,
}
"""Field of a model -> what it accepts. N = 0 is accepted too, and leaves N to the data."""

TRAINING: dict[str, Field] = {
    "batch_size": from_one,
    "nepochs": from_one,
    "mae_weight": at_least_zero,
    "nll_weight": at_least_zero,
    "realspace_mae_weight": at_least_zero,
    "realspace_weight": at_least_zero,
    "nphotons": positive,
    "n_groups": one_or_none,
    "n_subsample": one_or_none,
    "subsample_seed": field(none=True, whole=(0, 2**32 - 1)),
    "neighbor_count": from_one,
    "neighbor_pool_size": one_or_none,
    "enable_oversampling": flag,
    "sequential_sampling": flag,
    "positions_provided": Field(st.just(True), lambda value: value is True, TRUE.__contains__, True),
    "probe_trainable": flag,
    "intensity_scale_trainable": flag,
    "backend": field("pytorch", "tensorflow"),
    "torch_loss_mode": field("poisson", "mae"),
    "measurement_domain": field("auto", "amplitude", "intensity"),
    "optimizer": field("adam", "adamw", "sgd"),
    "momentum": below_one,
    "weight_decay": at_least_zero,
    "adam_beta1": below_one,
    "adam_beta2": below_one,
    "lr_warmup_epochs": from_zero,
    "lr_min_ratio": field(real=st.floats(0, 1), within=lambda number: 0 <= number <= 1),
    "plateau_factor": field(
        real=st.floats(0, 1, exclude_min=True, exclude_max=True), within=lambda number: 0 < number < 1
    ),
    "plateau_patience": from_zero,
    "plateau_min_lr": at_least_zero,
    "plateau_threshold": at_least_zero,
}
"""Field of a training -> what it accepts; paths are apart, which any text is."""

_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    [
        "$HOME",
        "$$",
        "${A}",
        "${",
        "$",
        "~",
        "~root",
        " ",
        ".",
        "..",
        "none",
        "a\x85b",
        "\u2028",
        "a\\b",
        '"',
        "#",
    ]
)
paths = (
    st.builds(
        lambda root, parts: root + "/".join(parts), st.sampled_from(["", "/"]), st.lists(_NAMES, max_size=4)
    )
    .filter(str.strip)
    .map(Path)
)
"""Every path that text can name."""
places = line.valid.filter(lambda text: text.lower() not in ("none", "null"))
"""Where an array is in a file of another program."""

FIELDS = MODEL | TRAINING

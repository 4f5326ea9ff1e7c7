"""Between the canonical configurations and those of this backend, by one table read in both directions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ptycho.config.canonical import InferenceConfig as CanonicalInference
from ptycho.config.canonical import ModelConfig as CanonicalModel
from ptycho.config.canonical import TrainingConfig as CanonicalTraining
from ptycho.config.errors import ConfigError, Failure, warn_caller
from ptycho.config.section import section_of
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig


@dataclass(frozen=True)
class Pair:
    """One canonical field and the fields of this backend that say the same.

    Attributes:
        field: the canonical field; one of this name in several configurations means the same in all.
        torch: `section.field` of this backend; the sections are data, model, training.
        to_torch: canonical value -> the values of `torch`, in this order.
        to_canonical: the values of `torch` -> canonical value.
    """

    field: str
    torch: tuple[str, ...]
    to_torch: Callable[[Any], tuple[Any, ...]] = lambda value: (value,)
    to_canonical: Callable[..., Any] = lambda value: value


def _words(pairs: Mapping[str, str]) -> tuple[Callable[[Any], tuple[Any, ...]], Callable[..., Any]]:
    """Translate words: canonical -> torch by the mapping, and back."""
    back = {torch: word for word, torch in pairs.items()}
    return lambda word: (pairs.get(word, word),), lambda word: back.get(str(word), word)


def _grid(gridsize: int) -> tuple[Any, ...]:
    return (gridsize, gridsize), gridsize**2, gridsize**2, gridsize**2


def _gridsize(grid_size: tuple[int, int], *group_sizes: int) -> int:
    rows, columns = grid_size
    if rows != columns:
        rule = "expected as many neighbours along y as along x"
        raise ConfigError.of("DataConfig.grid_size", f"{rule}; got {rows} and {columns}. Use a square grid.")
    names = ("DataConfig.C", "ModelConfig.C_model", "ModelConfig.C_forward")
    wrong = [
        Failure.of(
            name, f"expected {rows**2}, the patterns in a {rows} x {rows} grid; got {size}. Make them agree."
        )
        for name, size in zip(names, group_sizes, strict=True)
        if size not in (1, rows**2)
    ]
    if wrong:
        raise ConfigError(wrong)
    return rows


_SAME_IN_TRAINING: Final = (
    "batch_size",
    "mae_weight",
    "realspace_weight",
    "realspace_mae_weight",
    "optimizer",
    "momentum",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "lr_warmup_epochs",
    "lr_min_ratio",
    "plateau_factor",
    "plateau_patience",
    "plateau_min_lr",
    "plateau_threshold",
    "train_data_file",
    "test_data_file",
    "output_dir",
)

TABLE: Final = (
    Pair("N", ("data.N",)),
    Pair("gridsize", ("data.grid_size", "data.C", "model.C_model", "model.C_forward"), _grid, _gridsize),
    Pair("n_filters_scale", ("model.n_filters_scale",)),
    Pair("model_type", ("model.mode",), *_words({"pinn": "Unsupervised", "supervised": "Supervised"})),
    Pair("architecture", ("model.architecture",)),
    Pair("n_unrolled_steps", ("model.n_unrolled_steps",)),
    Pair("n_physics_steps", ("model.n_physics_steps",)),
    Pair("amp_activation", ("model.amp_activation",), *_words({"swish": "silu"})),
    Pair("object_big", ("model.object_big",)),
    Pair("probe_big", ("model.probe_big",)),
    Pair("pad_object", ("model.pad_object",)),
    Pair(
        "probe_mask", ("model.probe_mask",), to_canonical=lambda mask: mask is not None and mask is not False
    ),
    Pair("probe_mask_sigma", ("model.probe_mask_sigma",)),
    Pair("probe_mask_diameter", ("model.probe_mask_diameter",)),
    Pair("probe_scale", ("data.probe_scale",)),
    Pair("gaussian_smoothing_sigma", ("model.gaussian_smoothing_sigma",)),
    Pair("probe_trainable", ("model.probe_trainable",)),
    Pair("intensity_scale_trainable", ("model.intensity_scale_trainable",)),
    Pair("torch_loss_mode", ("model.loss_function",), *_words({"poisson": "Poisson", "mae": "MAE"})),
    Pair("nphotons", ("data.nphotons",)),
    Pair("n_groups", ("data.n_groups",)),
    Pair("subsample_seed", ("data.subsample_seed",)),
    Pair("neighbor_count", ("data.K",)),
    Pair("measurement_domain", ("data.measurement_domain",)),
    Pair("nepochs", ("training.epochs",)),
    Pair(
        "nll_weight",
        ("training.nll", "training.nll_weight"),
        lambda weight: (weight > 0, weight),
        lambda counts, weight: weight if counts else 0.0,
    ),
    *(Pair(name, (f"training.{name}",)) for name in _SAME_IN_TRAINING),
)
"""Every field that both sides have."""

EXECUTION: Final = {
    "training.learning_rate": "learning_rate",
    "training.scheduler": "scheduler",
    "training.accum_steps": "accum_steps",
    "training.gradient_clip_val": "gradient_clip_val",
    "training.num_workers": "num_workers",
    "training.device": "accelerator",
    "training.n_devices": "n_devices",
    "training.strategy": "strategy",
    "inference.batch_size": "inference_batch_size",
    "inference.middle_trim": "middle_trim",
    "inference.pad_eval": "pad_eval",
    "inference.window": "reconstruction_window",
}
"""Fields of this backend, with their section, that are knobs of the execution configuration."""

CLIENT_ONLY: Final = (
    "data.normalize",
    "data.neighbor_function",
    "data.min_neighbor_distance",
    "data.max_neighbor_distance",
    "data.K_quadrant",
    "data.scan_pattern",
    "data.n_subsample",
    "data.x_bounds",
    "data.y_bounds",
    "data.probe_normalize",
    "data.probe_ramp_removal",
    "data.data_scaling",
    "data.phase_subtraction",
    "model.intensity_scale",
    "model.cbam_encoder",
    "model.cbam_bottleneck",
    "model.cbam_decoder",
    "model.eca_encoder",
    "model.eca_decoder",
    "model.spatial_decoder",
    "model.decoder_spatial_kernel",
    "model.batch_norm",
    "model.use_shared_decoder",
    "model.decoder_last_amp_channels",
    "model.decoder_last_c_outer_fraction",
    "model.edge_pad",
    "model.amp_loss",
    "model.amp_loss_coeff",
    "model.phase_loss",
    "model.phase_loss_coeff",
    "model.amplitude_variance_loss",
    "model.amplitude_variance_coeff",
    "model.probe_reference_coeff",
    "model.num_datasets",
    "model.max_position_jitter",
    "model.offset",
    "training.framework",
    "training.orchestrator",
    "training.epochs_fine_tune",
    "training.fine_tune_gamma",
    "training.enable_staged_finetuning",
    "training.finetune_stage1_epochs",
    "training.finetune_stage1_lr_decoder",
    "training.finetune_stage2_epochs",
    "training.finetune_stage2_lr_encoder_top",
    "training.finetune_stage2_lr_decoder",
    "training.finetune_stage2_lr_phase_head",
    "training.finetune_stage3_epochs",
    "training.finetune_stage3_lr_encoder_bottom",
    "training.finetune_stage3_lr_encoder_top",
    "training.finetune_stage3_lr_decoder",
    "training.finetune_stage3_lr_phase_head",
    "training.finetune_skip_stage3",
    "training.finetune_early_stop_patience",
    "training.finetune_val_split",
    "training.notes",
    "training.model_name",
    "inference.experiment_number",
    "inference.patch_weighting",
)
"""Fields of this backend without a canonical counterpart."""

NOT_BRIDGED: Final = {
    "n_subsample": "scan positions are drawn from the canonical configuration",
    "enable_oversampling": "groups are drawn from the canonical configuration",
    "neighbor_pool_size": "groups are drawn from the canonical configuration",
    "sequential_sampling": "groups are drawn from the canonical configuration",
    "positions_provided": "it has one value only",
    "backend": "it names this backend",
    "model_path": "it names the model that this backend's configurations are read from",
    "debug": "it concerns the files that a reconstruction writes",
    "save": "it concerns the files that a reconstruction writes",
    "unwrap_phase": "it concerns the files that a reconstruction writes",
    "remove_ramp": "it concerns the files that a reconstruction writes",
    "start": "the earlier run is read from the canonical configuration",
    **{place: f"the execution setting {knob}" for place, knob in EXECUTION.items()},
    **dict.fromkeys(CLIENT_ONLY, "set by programs that use these classes themselves"),
}
"""Fields of either side (those of this backend with their section) that the table leaves out, and why."""


def to_model_config(
    data: DataConfig, model: ModelConfig, overrides: Mapping[str, Any] | None = None
) -> CanonicalModel:
    """The canonical model configuration of this backend's.

    Args:
        data: gives N, grid_size and probe_scale.
        model: gives the rest.
        overrides: canonical field -> value that beats the translated one.

    Raises:
        ConfigError: a grid that is not square, group sizes that contradict it, or a wrong override.
    """
    return CanonicalModel(
        **_beaten_by(overrides, CanonicalModel, _to_canonical(CanonicalModel, data=data, model=model))
    )


def to_training_config(
    model: CanonicalModel,
    data: DataConfig,
    pt_model: ModelConfig,
    training: TrainingConfig,
    overrides: Mapping[str, Any] | None = None,
) -> CanonicalTraining:
    """The canonical training configuration of this backend's.

    Args:
        model: the canonical model.
        data: gives nphotons, groups and seed.
        pt_model: gives the loss function and what is trainable besides the network.
        training: gives the rest.
        overrides: canonical field -> value that beats the translated one.

    Raises:
        ConfigError: there is no train_data_file or no n_groups, or an override is wrong.

    Warns:
        UserWarning: there is no test_data_file.
    """
    translated = _to_canonical(CanonicalTraining, data=data, model=pt_model, training=training)
    values = _beaten_by(overrides, CanonicalTraining, translated)
    _require(CanonicalTraining, values, "train_data_file", "n_groups")
    return CanonicalTraining(**(values | {"model": model}))


def to_inference_config(
    model: CanonicalModel,
    data: DataConfig,
    inference: InferenceConfig,
    overrides: Mapping[str, Any] | None = None,
) -> CanonicalInference:
    """The canonical inference configuration of this backend's.

    Args:
        model: the canonical model.
        data: gives groups and seed.
        inference: how patches become a picture, which is execution and has no canonical field.
        overrides: canonical field -> value that beats the translated one; model_path and test_data_file come here.

    Raises:
        ConfigError: there is no model_path or no n_groups, or an override is wrong.

    Warns:
        UserWarning: there is no test_data_file.
    """
    translated = _to_canonical(CanonicalInference, data=data, inference=inference)
    values = _beaten_by(overrides, CanonicalInference, translated)
    _require(CanonicalInference, values, "model_path", "n_groups")
    return CanonicalInference(**(values | {"model": model}))


def execution_arguments(training: TrainingConfig, inference: InferenceConfig) -> dict[str, Any]:
    """The knobs that this backend's configurations state, as arguments of `PyTorchExecutionConfig`.

    A field that is None states nothing; the environment, a file or the default then decides.
    """
    sections = {"training": training, "inference": inference}
    stated = {
        knob: getattr(sections[section], name)
        for place, knob in EXECUTION.items()
        for section, name in [place.split(".")]
    }
    return {knob: value for knob, value in stated.items() if value is not None}


def from_training_config(config: CanonicalTraining) -> tuple[DataConfig, ModelConfig, TrainingConfig]:
    """This backend's configurations of a canonical training configuration."""
    values = _to_torch(config.model, config)
    return DataConfig(**values["data"]), ModelConfig(**values["model"]), TrainingConfig(**values["training"])


def from_inference_config(config: CanonicalInference) -> tuple[DataConfig, ModelConfig]:
    """This backend's configurations of a canonical inference configuration."""
    values = _to_torch(config.model, config)
    return DataConfig(**values["data"]), ModelConfig(**values["model"])


def _to_canonical(cls: type, **sections: Any) -> dict[str, Any]:
    """Translate every field of a canonical class whose counterparts are in the sections at hand."""
    values: dict[str, Any] = {}
    for pair in TABLE:
        places = [place.split(".") for place in pair.torch]
        if pair.field in section_of(cls).fields and all(section in sections for section, _ in places):
            values[pair.field] = pair.to_canonical(
                *(getattr(sections[section], name) for section, name in places)
            )
    return values


def _to_torch(*configs: Any) -> dict[str, dict[str, Any]]:
    """Translate every field of the canonical configurations, by section of this backend."""
    values: dict[str, dict[str, Any]] = {"data": {}, "model": {}, "training": {}}
    for pair in TABLE:
        for config in configs:
            if pair.field in section_of(type(config)).fields:
                for place, value in zip(pair.torch, pair.to_torch(getattr(config, pair.field)), strict=True):
                    section, name = place.split(".")
                    values[section][name] = value
    return values


def _names(cls: type, written: Iterable[str]) -> set[str]:
    """The fields that are meant by names, of which some may be old ones."""
    return {section_of(cls).field(name) or name for name in written}


def _beaten_by(overrides: Mapping[str, Any] | None, cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What was translated and is no default, but for what overrides set by a current or an old name; and these."""
    given, defaults = dict(overrides or {}), section_of(cls).defaults
    beaten = _names(cls, given)
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    return {name: value for name, value in changed.items() if name not in beaten} | given


def _require(cls: type, values: Mapping[str, Any], *names: str) -> None:
    section = section_of(cls).label
    given = _names(cls, [written for written, value in values.items() if value is not None])
    missing = [
        Failure.of(f"{section}.{name}", f"{name} is required; got nothing. Set it in overrides.")
        for name in names
        if name not in given
    ]
    if missing:
        raise ConfigError(missing)
    if values.get("test_data_file") is None:
        warn_caller(f"{section}.test_data_file: none is given.", UserWarning)

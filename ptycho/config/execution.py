"""PyTorchExecutionConfig: how this machine runs a training or a reconstruction.

The canonical configurations (`ptycho.config.canonical`) set what is trained on what. Nothing here enters the
legacy dictionary (rule CONFIG-002).
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le
from pydantic import Field, Strict
from pydantic_settings import SettingsConfigDict

from ptycho.config.field_types import Share
from ptycho.config.fields import (
    LARGEST,
    Exact,
    Flag,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    TextLine,
)
from ptycho.config.section import Conflict, section_of
from ptycho.config.settings import ResolvedSettings

Accelerator = Annotated[Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"], Exact()]
Strategy = Annotated[
    Literal[
        "auto", "ddp", "ddp_spawn", "ddp_notebook", "ddp_find_unused_parameters_true", "fsdp", "deepspeed"
    ],
    Exact(),
]
DeviceCount = Annotated[PositiveInt | Literal["auto"], Exact()]
Determinism = Annotated[Annotated[bool, Strict()] | Literal["warn"], Exact()]
Scheduler = Annotated[
    Literal["Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine"],
    Exact((("ReduceLROnPlateau", "Adaptive"), ("Cosine", "WarmupCosine"))),
]
SaveCount = Annotated[int, Strict(), Ge(-1), Le(LARGEST), Exact()]
LoggerBackend = Annotated[Literal["csv", "tensorboard", "wandb", "mlflow"] | None, Exact((("none", None),))]
Precision = Annotated[Literal["32-true", "16-mixed", "bf16-mixed", "64-true"], Exact()]
ClipAlgorithm = Annotated[Literal["norm", "value"], Exact()]
MonitorMode = Annotated[Literal["min", "max"], Exact()]
PreviewPeriod = Annotated[NonNegativeInt | Literal["auto"], Exact()]
DdpBackend = Annotated[Literal["auto", "nccl", "gloo", "mpi"], Exact()]


OLD_NAMES: Final[Mapping[str, str]] = {
    "devices": "n_devices",
    "accumulate_grad_batches": "accum_steps",
    "max_lr": "learning_rate",
    "lr": "learning_rate",
    "logger": "logger_backend",
}
"""Old or foreign name -> knob."""


def knob(default: object, group: str, description: str) -> Any:
    """Declare a field with the heading it is shown under, and with the help text of its flag."""
    return Field(default, description=description, json_schema_extra={"group": group})


class AdditionalKnobs(ResolvedSettings):
    """The knobs beyond the override matrix; docs/decisions says why each is there."""

    precision: Precision = knob(
        "32-true",
        "hardware",
        "Number format: all 32-bit, 16-bit or bfloat16 where it is safe, or all 64-bit.",
    )
    num_nodes: PositiveInt = knob(1, "hardware", "Number of machines.")
    num_threads: PositiveInt | None = knob(
        None,
        "hardware",
        "Threads of each process on the CPU; none divides the available CPUs among the processes.",
    )
    seed: Seed = knob(42, "hardware", "Seed of weights, shuffling and augmentation.")
    ddp_backend: DdpBackend = knob(
        "auto", "hardware", "Communication between devices with ddp; auto is nccl on GPUs and gloo on CPUs."
    )
    ddp_find_unused_parameters: Flag = knob(
        False, "hardware", "With ddp, look in every step for parameters without a gradient."
    )
    ddp_static_graph: Flag = knob(
        True, "hardware", "With ddp, assume that every step uses the same parameters, which is faster."
    )
    ddp_gradient_as_bucket_view: Flag = knob(
        True, "hardware", "With ddp, keep gradients in the buffers that are sent, which saves memory."
    )
    val_split: Share = knob(
        0.05, "data loading", "Fraction of the groups that is used for validation if no test data are given."
    )
    val_split_seed: Seed = knob(42, "data loading", "Seed of the choice of validation groups.")
    drop_last_batch: Flag = knob(False, "data loading", "Leave out the last training batch if it is short.")
    gradient_clip_algorithm: ClipAlgorithm = knob(
        "norm", "optimization", "What gradient_clip_val bounds: the gradient's norm, or each value."
    )
    checkpoint_mode: MonitorMode = knob(
        "min", "checkpoints", "Whether the smallest or the largest checkpoint_monitor_metric is the best."
    )
    check_val_every_n_epoch: PositiveInt = knob(1, "checkpoints", "Epochs from one validation to the next.")
    save_last_checkpoint: Flag = knob(True, "checkpoints", "Also keep the checkpoint of the last epoch.")
    preview_every: PreviewPeriod = knob(
        "auto",
        "logging",
        "Epochs, or iterations without a network, from one preview of a run to the next; 0: no previews; auto: one "
        "in 10 s, and no more than a twentieth of the run.",
    )
    reconstruction_window: NonNegativeInt = knob(
        20, "inference", "Pixels trimmed from each border of the reconstructed canvas."
    )


class PyTorchExecutionConfig(AdditionalKnobs):
    """How this machine runs a training or a reconstruction: devices, loaders, optimizer, checkpoints, logging.

    The strongest source that has a value for a setting wins: an override or a command-line flag, an argument, the
    environment variable `PTYCHO_EXEC_<SETTING>`, a file the user named, a file of the variable PTYCHO_CONFIG, a recipe
    where one is asked for, the default; `sources` tells which one it was.
    Instances are immutable: `replace` returns a changed copy. Values are plain Python scalars.

    Raises:
        ConfigError: Everything that is wrong, in one error.
    """

    model_config = SettingsConfigDict(env_prefix="PTYCHO_EXEC_")

    old_names = OLD_NAMES
    table = "execution"

    accelerator: Accelerator = knob(
        "auto", "hardware", "Kind of device; auto uses the best one that the machine has when the run starts."
    )
    strategy: Strategy = knob("auto", "hardware", "How several devices share the work.")
    n_devices: DeviceCount = knob(1, "hardware", "Devices per machine; auto uses all of them.")
    deterministic: Determinism = knob(
        True,
        "hardware",
        "Seed everything and use only operations that repeat exactly; warn names those that do not.",
    )
    num_workers: NonNegativeInt = knob(
        0, "data loading", "Processes that load data; 0 loads in the process of the run."
    )
    pin_memory: Flag = knob(
        False, "data loading", "Load into page-locked memory, which copies to a GPU faster."
    )
    persistent_workers: Flag = knob(
        False, "data loading", "Keep the loading processes from epoch to epoch; needs num_workers > 0."
    )
    prefetch_factor: PositiveInt | None = knob(
        None, "data loading", "Batches each loading process prepares ahead; needs num_workers > 0."
    )
    learning_rate: PositiveFloat = knob(1e-3, "optimization", "Step size of the optimizer, at its largest.")
    scheduler: Scheduler = knob(
        "Default",
        "optimization",
        "Course of the learning rate: Default is constant (after a warm-up, if one is set), Adaptive "
        "(ReduceLROnPlateau) shrinks it when the monitored metric stalls, WarmupCosine (Cosine) lets it fall along a "
        "cosine.",
    )
    gradient_clip_val: PositiveFloat | None = knob(
        None, "optimization", "Bound of the gradient (see gradient_clip_algorithm); none: no bound."
    )
    accum_steps: PositiveInt = knob(
        1,
        "optimization",
        "Batches per optimizer step: the effective batch is batch_size x accum_steps x devices.",
    )
    enable_checkpointing: Flag = knob(True, "checkpoints", "Save checkpoints during training.")
    checkpoint_save_top_k: SaveCount = knob(
        1, "checkpoints", "How many of the best checkpoints to keep: -1 all, 0 none."
    )
    checkpoint_monitor_metric: TextLine = knob(
        "val_loss",
        "checkpoints",
        "Logged metric that selects the best checkpoint and stops a run early; val_loss is the training loss if there "
        "are no validation data.",
    )
    early_stop_patience: PositiveInt = knob(
        100, "checkpoints", "Validations without improvement after which training stops, in epochs."
    )
    enable_progress_bar: Flag = knob(False, "logging", "Show a progress bar.")
    logger_backend: LoggerBackend = knob(
        None, "logging", "Lightning logger of a run, in addition to its own loss history."
    )
    disable_mlflow: Flag = knob(False, "logging", "With logger_backend mlflow, log nothing to it.")
    inference_batch_size: PositiveInt | None = knob(
        None, "inference", "Patterns per batch in reconstruction; none: as many as a training batch holds."
    )
    middle_trim: NonNegativeInt = knob(
        0,
        "inference",
        "Side of the central square of each patch that reassembly uses, in pixels; 0 is the whole patch.",
    )
    pad_eval: Flag = knob(
        False, "inference", "Keep the padded outer band of each patch in reconstruction, as in training."
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Register a class that is derived from this one, with the sources that it adds.

        Raises:
            ConfigError: It asks pydantic for what has no effect here.
        """
        from ptycho.config.subclass_sources import adds_sources, refuse_without_effect  # loads with the first

        refuse_without_effect(cls)
        super().__pydantic_init_subclass__(**options)
        section_of(cls).adds_sources = adds_sources(cls)

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> Iterator[Conflict]:
        """Find what asks for loading processes where there are none."""
        if values.get("num_workers") == 0:
            for name, without in (("persistent_workers", False), ("prefetch_factor", None)):
                if values.get(name, without) != without:
                    way_out = f"Set num_workers, or drop {name}."
                    yield Conflict(name, "num_workers > 0", "num_workers", way_out, (without,))

"""The canonical configurations: what is trained on what, and what is reconstructed from what.

They are mutable; every construction and every assignment is validated, and a failed one changes nothing. The
text under a field is its help text, here and on the command line. How a run is carried out (devices, loaders,
logging) is said by `ptycho.config.execution.PyTorchExecutionConfig` instead.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, BeforeValidator, Strict
from pydantic_core import PydanticCustomError

from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.errors import ConfigError, Failure, path_of
from ptycho.config.fields import LARGEST, Exact, Flag, NonNegativeInt, PositiveFloat, PositiveInt, Rule, Seed
from ptycho.config.rules import conflicts_of


def _is_pattern_size(value: int) -> bool:
    return value == 0 or (value >= 32 and value % 16 == 0)


PatternSize = Annotated[
    int,
    Strict(),
    Ge(0),
    Le(LARGEST),
    Rule("a multiple of 16 from 32 up, or 0 (from the data)", _is_pattern_size),
    Exact(),
]
"""Side of a diffraction pattern, in pixels."""
NonNegativeFloat = Annotated[float, Strict(), Ge(0), AllowInfNan(False), Exact()]
"""A finite number >= 0."""
Fraction = Annotated[float, Strict(), Ge(0), Le(1), AllowInfNan(False), Exact()]
"""A number from 0 to 1."""
DecayRate = Annotated[float, Strict(), Ge(0), Lt(1), AllowInfNan(False), Exact()]
"""A number from 0 to below 1."""
ShrinkFactor = Annotated[float, Strict(), Gt(0), Lt(1), AllowInfNan(False), Exact()]
"""A number between 0 and 1, neither of them."""
PositionsProvided = Annotated[
    bool, Strict(), Rule("true", bool, "Only scans that come with their positions are supported."), Exact()
]
"""True."""


def _is_path(value: Path | None) -> bool:
    return value is None or "\0" not in str(value)


def _not_blank(value: Any) -> Any:
    """Refuse blank text, which a path would take for the current folder; Path() says that it is meant."""
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("not_accepted", "Input should not be blank")
    return value


if TYPE_CHECKING:

    class File:
        """A path, or its text."""

        def __get__(self, instance: object, owner: object) -> Path: ...
        def __set__(self, instance: object, value: str | Path) -> None: ...

    class OptionalFile:
        """A path, or its text; or None."""

        def __get__(self, instance: object, owner: object) -> Path | None: ...
        def __set__(self, instance: object, value: str | Path | None) -> None: ...

else:
    File = Annotated[Path, BeforeValidator(_not_blank), Rule("a path", _is_path)]
    OptionalFile = Annotated[Path | None, BeforeValidator(_not_blank), Rule("a path or none", _is_path)]


def path(default: str | None) -> Any:
    """Declare a field that holds a path, and takes its text as well."""
    return None if default is None else Path(default)


Activation = Annotated[Literal["sigmoid", "swish", "silu", "softplus", "relu"], Exact()]
Domain = Annotated[Literal["auto", "amplitude", "intensity"], Exact()]
Backend = Annotated[Literal["pytorch", "tensorflow"], Exact()]


class ModelConfig(CheckedDataclass, table="model"):
    """The network and the physics it is trained through."""

    N: PatternSize = 64
    """Side of a diffraction pattern and of an object patch, in pixels; 0 takes it from the data."""

    gridsize: PositiveInt = 1
    """Groups of gridsize x gridsize neighbouring patterns are reconstructed together."""

    n_filters_scale: PositiveInt = 2
    """Width of the network: its first level has 8 x n_filters_scale channels."""

    model_type: Annotated[Literal["pinn", "supervised"], Exact()] = "pinn"
    """What teaches the network: the measured patterns through the physics (pinn), or labels (supervised)."""

    architecture: Annotated[Literal["unrolled", "cnn"], Exact()] = "unrolled"
    """unrolled: physics steps, each corrected by a U-Net; cnn: one U-Net from the pattern to the patch."""

    n_physics_steps: PositiveInt = 1
    """Physics steps before each learned correction of the unrolled network."""

    n_unrolled_steps: PositiveInt = 3
    """Learned corrections of the unrolled network, each after n_physics_steps physics steps."""

    amp_activation: Activation = "sigmoid"
    """Activation at the network's amplitude output; swish and silu are one function."""

    object_big: Flag = True
    """Combine the patches of a group on a shared canvas; off: each pattern has its own patch alone."""

    probe_big: Flag = True
    """Let the network's field of view be 7/8 of the patch; off: its central square of side N/2. Needs pad_object."""

    pad_object: Flag = True
    """Pad a patch with the current object outside the field of view; off: that is the whole patch."""

    probe_mask: Flag = False
    """Multiply the probe by a disk with a soft edge."""

    probe_mask_sigma: NonNegativeFloat = 1.0
    """Width of the soft edge of the probe mask, in pixels (standard deviation); 0 is a hard edge."""

    probe_mask_diameter: PositiveFloat | None = None
    """Diameter of the probe mask, in pixels; none is N/2."""

    probe_scale: PositiveFloat = 4.0
    """Peak probe amplitude in network units: the larger, the slower a trainable probe moves."""

    gaussian_smoothing_sigma: NonNegativeFloat = 0.0
    """Blur of each predicted correction, in pixels (standard deviation); 0 is none."""


class TrainingConfig(CheckedDataclass, table="training", renamed={"n_images": "n_groups"}):
    """One training: the model, its data, its losses and its optimizer."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """The network and the physics."""

    train_data_file: OptionalFile = path(None)
    """The scan to train on: an NPZ file, or a folder of NPZ files that are one data set."""

    test_data_file: OptionalFile = path(None)
    """A scan to validate on; none splits the training data."""

    batch_size: PositiveInt = 16
    """Groups in one step on one device."""

    nepochs: PositiveInt = 50
    """Passes over the training data."""

    mae_weight: NonNegativeFloat = 0.0
    """Weight of the mean absolute error of the amplitudes."""

    nll_weight: NonNegativeFloat = 1.0
    """Weight of the Poisson negative log-likelihood of the photon counts."""

    realspace_mae_weight: NonNegativeFloat = 0.0
    """Weight of the mean absolute error of the object patches against labels."""

    realspace_weight: NonNegativeFloat = 0.0
    """Weight of the total variation of the object."""

    nphotons: PositiveFloat = 1e9
    """Incident photons of one diffraction pattern; amplitudes that would be far more are refused as counts."""

    n_groups: PositiveInt | None = None
    """Number of groups to train on; none is one for every scan position."""

    n_subsample: PositiveInt | None = None
    """Number of scan positions to draw before grouping; none keeps all."""

    subsample_seed: Seed | None = None
    """Seed of the drawing of scan positions and groups; none takes the seed of the run."""

    neighbor_count: PositiveInt = 4
    """A group is drawn from this many nearest neighbours of a scan position."""

    neighbor_pool_size: PositiveInt | None = None
    """Draw the members of a group from this many nearest neighbours instead; none is neighbor_count."""

    enable_oversampling: Flag = False
    """Allow more groups than scan positions, by drawing several groups around one position."""

    sequential_sampling: Flag = False
    """Take scan positions and groups in the order of the file instead of drawing and shuffling them."""

    positions_provided: PositionsProvided = True
    """Scan positions come with the data; nothing else is supported."""

    probe_trainable: Flag = False
    """Refine the probe together with the network."""

    intensity_scale_trainable: Flag = True
    """Train the factor between photon counts and network units."""

    output_dir: File = path("training_outputs")
    """Folder for everything a training writes."""

    backend: Backend = "pytorch"
    """The implementation that trains; tensorflow is another distribution's."""

    torch_loss_mode: Annotated[Literal["poisson", "mae"], Exact()] = "poisson"
    """poisson: the losses as weighted; mae: no Poisson term, and the amplitude error weighted by mae_weight
    (by 1 where that is 0)."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: as the file says."""

    optimizer: Annotated[Literal["adam", "adamw", "sgd"], Exact()] = "adam"
    """The optimizer."""

    momentum: DecayRate = 0.9
    """Momentum of sgd."""

    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of the optimizer."""

    adam_beta1: DecayRate = 0.9
    """Decay rate of the mean gradient, of adam and adamw."""

    adam_beta2: DecayRate = 0.999
    """Decay rate of the mean squared gradient, of adam and adamw."""

    lr_warmup_epochs: NonNegativeInt = 0
    """Epochs of rising learning rate before the schedule; not with Adaptive."""

    lr_min_ratio: Fraction = 0.1
    """Last learning rate over the highest, with the schedules WarmupCosine, Exponential and MultiStage."""

    plateau_factor: ShrinkFactor = 0.5
    """The learning rate is multiplied by this at a plateau, with the Adaptive schedule."""

    plateau_patience: NonNegativeInt = 2
    """Epochs without improvement that make a plateau, with the Adaptive schedule."""

    plateau_min_lr: NonNegativeFloat = 5e-5
    """Lowest learning rate of the Adaptive schedule."""

    plateau_threshold: NonNegativeFloat = 0.0
    """Smallest relative decrease of the loss that counts as improvement, with the Adaptive schedule."""


class InferenceConfig(CheckedDataclass, table="inference", renamed={"n_images": "n_groups"}, as_trained=True):
    """One reconstruction: a trained model and the scan to reconstruct."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """The network and the physics, as trained."""

    model_path: OptionalFile = path(None)
    """Folder of the trained model; it holds wts.h5.zip."""

    test_data_file: OptionalFile = path(None)
    """The scan to reconstruct: an NPZ file, or a folder of NPZ files that are one data set."""

    n_groups: PositiveInt | None = None
    """Number of groups to reconstruct from; none is one for every scan position."""

    n_subsample: PositiveInt | None = None
    """Number of scan positions to draw before grouping; none keeps all."""

    subsample_seed: Seed | None = None
    """Seed of the drawing of scan positions and groups; none takes the seed of the run."""

    neighbor_count: PositiveInt = 4
    """A group is drawn from this many nearest neighbours of a scan position."""

    debug: Flag = False
    """Also write the coverage map and the error of every pattern."""

    output_dir: File = path("inference_outputs")
    """Folder for everything a reconstruction writes."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: as the file says."""

    backend: Backend = "pytorch"
    """The implementation that reconstructs; tensorflow is another distribution's."""


def validate_model_config(config: ModelConfig) -> None:
    """Check that a model configuration is ready for a run.

    Raises:
        ConfigError: N is still 0, to be taken from the data.
    """
    failures = list(_model_failures(config))
    if failures:
        raise ConfigError(failures)


def validate_training_config(config: TrainingConfig) -> None:
    """Check that a training configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no training data; or fields do not go together.
    """
    failures = list(_model_failures(config.model))
    failures += _missing("training.train_data_file", config.train_data_file)
    failures += conflicts_of(config.model, config)
    if failures:
        raise ConfigError(failures)


def validate_inference_config(config: InferenceConfig) -> None:
    """Check that an inference configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no model or no data; or fields do not go together.
    """
    failures = list(_model_failures(config.model))
    failures += _missing("inference.model_path", config.model_path)
    failures += _missing("inference.test_data_file", config.test_data_file)
    failures += conflicts_of(config.model, config)
    if failures:
        raise ConfigError(failures)


def _model_failures(config: ModelConfig) -> Iterator[Failure]:
    if config.N == 0:
        message = "model.N: expected the size of the patterns; got 0. Set it, or take it from the data first."
        yield Failure("model.N", message)


def _missing(name: str, path: Path | None) -> Iterator[Failure]:
    if path is None:
        yield Failure(name, f"{name}: expected a path; got none. Set it.")


def load_yaml_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file into plain dictionaries, lists and scalars.

    Args:
        path: A `.yaml` or `.yml` file that holds a mapping.

    Raises:
        ConfigError: it is missing, unreadable, not valid YAML, not a mapping, or repeats a key.
    """
    from ptycho.config import yaml_values  # with the parser, which loads with the first file
    from ptycho.config.files import ConfigFile

    name = path_of(path)
    if not name.lower().endswith((".yaml", ".yml")):
        raise ConfigError([Failure(name, f"{name}: expected a file that ends in .yaml or .yml.")])
    return yaml_values.load(name, ConfigFile.read(name).text)

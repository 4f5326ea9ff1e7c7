"""The configurations as the network, the data and the losses take them: plain, mutable, picklable dataclasses.

They say nothing a canonical configuration does not say, in the words of this backend; `config_bridge` translates.
Importing this module loads neither torch nor lightning. Constructing and assigning raise ConfigError.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ptycho.config.canonical import (
    DecayRate,
    Domain,
    File,
    Fraction,
    NonNegativeFloat,
    OptionalFile,
    PatternSize,
    ShrinkFactor,
)
from ptycho.config.fields import Exact, Flag, NonNegativeInt, PositiveFloat, PositiveInt, Seed
from ptycho.config.validated import Rule, validated

GridSize = Annotated[tuple[PositiveInt, PositiveInt], Rule("two integers >= 1")]
"""Neighbours in a group along y and x."""


def _is_probe_mask(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, Sequence) and not isinstance(value, str):
        rows: list[Any] = list(value)
        return bool(rows) and all(isinstance(row, Sequence) and len(row) == len(rows) for row in rows)
    shape = tuple(getattr(value, "shape", ()))
    return len(shape) == 2 and shape[0] == shape[1]


ProbeMask = Annotated[Any, Rule("true, false, none, or a square array", _is_probe_mask), Exact()]
"""Whether, or with what, to multiply the probe."""


@validated("DataConfig")
class DataConfig:
    """What the patterns are, and which of them form groups."""

    N: PatternSize = 64
    """Side of a diffraction pattern and of an object patch, in pixels."""

    grid_size: GridSize = (1, 1)
    """Groups of grid_size[0] x grid_size[1] neighbouring patterns are reconstructed together."""

    C: PositiveInt = 1
    """Patterns in a group: grid_size[0] x grid_size[1]."""

    K: PositiveInt = 4
    """A group is drawn from this many nearest neighbours of a scan position."""

    n_groups: PositiveInt | None = None
    """Number of groups; none is one for every scan position."""

    subsample_seed: Seed | None = None
    """Seed of the drawing of scan positions and groups; none takes the seed of the run."""

    nphotons: PositiveFloat = 1e9
    """Incident photons of one diffraction pattern; amplitudes that would be far more are refused as counts."""

    probe_scale: PositiveFloat = 4.0
    """Peak probe amplitude in network units."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: as the file says."""


@validated("ModelConfig")
class ModelConfig:
    """The network and the physics it is trained through."""

    mode: Annotated[Literal["Unsupervised", "Supervised"], Exact()] = "Unsupervised"
    """What teaches the network: the measured patterns through the physics, or labels."""

    architecture: Annotated[Literal["unrolled", "cnn"], Exact()] = "unrolled"
    """unrolled: physics steps, each corrected by a U-Net; cnn: one U-Net from the pattern to the patch."""

    n_physics_steps: PositiveInt = 1
    """Physics steps before each learned correction of the unrolled network."""

    n_unrolled_steps: PositiveInt = 3
    """Learned corrections of the unrolled network, each after n_physics_steps physics steps."""

    n_filters_scale: PositiveInt = 2
    """Width of the network: its first level has 8 x n_filters_scale channels."""

    loss_function: Annotated[Literal["Poisson", "MAE"], Exact()] = "Poisson"
    """Poisson: the losses as weighted; MAE: the amplitude error alone."""

    amp_activation: Annotated[
        Literal["sigmoid", "silu", "softplus", "relu"], Exact(synonyms=(("swish", "silu"),))
    ] = "sigmoid"
    """Activation at the network's amplitude output."""

    C_model: PositiveInt = 1
    """Patterns in a group, as the network sees it."""

    C_forward: PositiveInt = 1
    """Patterns in a group, as the physics sees it."""

    object_big: Flag = True
    """Combine the patches of a group on a shared canvas; off: each pattern has its own patch alone."""

    probe_big: Flag = True
    """Let the network's field of view be 7/8 of the patch; off: its central square of side N/2. Needs pad_object."""

    pad_object: Flag = True
    """Pad a patch with the current object outside the field of view; off: that is the whole patch."""

    probe_mask: ProbeMask = None
    """Multiply the probe by a disk with a soft edge (true), or by this array (N, N) of factors from 0 to 1."""

    probe_mask_sigma: NonNegativeFloat = 1.0
    """Width of the soft edge of the probe mask, in pixels (standard deviation)."""

    probe_mask_diameter: PositiveFloat | None = None
    """Diameter of the probe mask, in pixels; none is N/2."""

    gaussian_smoothing_sigma: NonNegativeFloat = 0.0
    """Blur of each predicted correction, in pixels (standard deviation); 0 is none."""

    probe_trainable: Flag = False
    """Refine the probe together with the network."""

    intensity_scale_trainable: Flag = True
    """Train the factor between photon counts and network units."""


@validated("TrainingConfig")
class TrainingConfig:
    """Losses, optimizer and files of a training."""

    epochs: PositiveInt = 50
    """Passes over the training data."""

    batch_size: PositiveInt = 16
    """Groups in one step on one device."""

    nll: Flag = True
    """Whether the Poisson negative log-likelihood counts at all."""

    nll_weight: NonNegativeFloat = 1.0
    """Weight of the Poisson negative log-likelihood of the photon counts."""

    mae_weight: NonNegativeFloat = 0.0
    """Weight of the mean absolute error of the amplitudes."""

    realspace_weight: NonNegativeFloat = 0.0
    """Weight of the total variation of the object."""

    realspace_mae_weight: NonNegativeFloat = 0.0
    """Weight of the mean absolute error of the object patches against labels."""

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

    train_data_file: OptionalFile = None
    """The scan to train on: an NPZ file, or a folder of NPZ files that are one data set."""

    test_data_file: OptionalFile = None
    """A scan to validate on; none splits the training data."""

    output_dir: File = Path("training_outputs")
    """Folder for everything a training writes."""


@validated("InferenceConfig")
class InferenceConfig:
    """How a trained network's patches become one picture."""

    batch_size: PositiveInt = 16
    """Patterns in one step of the network."""

    middle_trim: NonNegativeInt = 0
    """Side of the central square of a patch that enters the picture, in pixels; 0 is the whole patch."""

    pad_eval: Flag = False
    """Keep the outer band of a patch, as in training."""

    window: NonNegativeInt = 20
    """Pixels trimmed from the border of the picture."""

    patch_weighting: Annotated[Literal["probe", "uniform"], Exact()] = "probe"
    """Weight of a patch's pixels in the picture: their illumination, or all the same."""


@validated("DatagenConfig")
class DatagenConfig:
    """Nothing: simulated scans are described where they are made. Callers pass one on, so it can be built."""

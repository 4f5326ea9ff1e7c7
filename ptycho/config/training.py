"""[training]: what is trained on, and how; the text under a field is its help text."""

import dataclasses
from typing import Annotated, Literal

from ptycho.config.data import DataConfig
from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.field_types import (
    Backend,
    Domain,
    File,
    Fraction,
    NonNegativeFloat,
    OptionalFile,
    PositionsProvided,
    Share,
    ShrinkFactor,
    path,
)
from ptycho.config.fields import Exact, Flag, NonNegativeInt, PositiveFloat, PositiveInt, Seed
from ptycho.config.model import ModelConfig


class TrainingConfig(CheckedDataclass, table="training", renamed={"n_images": "n_groups"}):
    """One training: the model, its data, its losses and its optimizer."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """The network and the physics."""

    train_data_file: OptionalFile = path(None)
    """The scan to train on: a file, or a folder of NPZ files that are one data set."""

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
    """Incident photons of one diffraction pattern; amplitudes that amount to far more are refused, since they are
    probably counts."""

    n_groups: PositiveInt | None = None
    """Number of groups to train on; none is one for every scan position."""

    n_subsample: PositiveInt | None = None
    """Number of scan positions to draw before grouping; none keeps all."""

    subsample_seed: Seed | None = None
    """Seed for drawing scan positions and groups; none uses the seed of the run."""

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

    start: OptionalFile = path(None)
    """Take probe, positions and intensities of the scan from here: a run's folder or its reconstruction.npz. none: as
    the file of the scan has them."""

    output_dir: File = path("training_outputs")
    """Folder for everything a training writes."""

    backend: Backend = "pytorch"
    """Implementation of the training; tensorflow belongs to another distribution."""

    torch_loss_mode: Annotated[Literal["poisson", "mae"], Exact()] = "poisson"
    """poisson: the losses with their weights; mae: no Poisson term, and the amplitude error with mae_weight (with 1 if
    that is 0)."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: from the file or its values."""

    optimizer: Annotated[Literal["adam", "adamw", "sgd"], Exact()] = "adam"
    """The optimizer."""

    momentum: Share = 0.9
    """Momentum of sgd."""

    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of the optimizer."""

    adam_beta1: Share = 0.9
    """Decay rate of the mean gradient, of adam and adamw."""

    adam_beta2: Share = 0.999
    """Decay rate of the mean squared gradient, of adam and adamw."""

    lr_warmup_epochs: NonNegativeInt = 0
    """Epochs of rising learning rate before the schedule; not with Adaptive."""

    lr_min_ratio: Fraction = 0.1
    """Ratio of the last learning rate to the highest, with the schedules WarmupCosine, Exponential and MultiStage."""

    plateau_factor: ShrinkFactor = 0.5
    """The learning rate is multiplied by this at a plateau, with the Adaptive schedule."""

    plateau_patience: NonNegativeInt = 2
    """Epochs without improvement that make a plateau, with the Adaptive schedule."""

    plateau_min_lr: NonNegativeFloat = 5e-5
    """Lowest learning rate of the Adaptive schedule."""

    plateau_threshold: NonNegativeFloat = 0.0
    """Smallest relative decrease of the loss that counts as improvement, with the Adaptive schedule."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """How scans are read."""

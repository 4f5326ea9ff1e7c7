"""The configurations as the network, the data and the losses take them: plain, mutable, picklable dataclasses.

They say nothing a canonical configuration does not say, in the words of this backend; `config_bridge` translates.
Importing this module loads neither torch nor lightning. Constructing and assigning raise ConfigError.
"""

from pathlib import Path
from typing import Annotated, Literal

from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.execution import Accelerator, Scheduler, Strategy
from ptycho.config.field_types import (
    File,
    Fraction,
    NonNegativeFloat,
    OptionalFile,
    Share,
    ShrinkFactor,
)
from ptycho.config.fields import Exact, Flag, NonNegativeInt, PositiveFloat, PositiveInt, Rule
from ptycho_torch.config_data import DataConfig, Engine, ProbeMask, Smoothness, only

__all__ = ["DataConfig", "DatagenConfig", "InferenceConfig", "ModelConfig", "TrainingConfig"]


class ModelConfig(CheckedDataclass, label="ModelConfig"):
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
    """Pad a patch with the current object outside the field of view; off: the field of view is the whole patch."""

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

    intensity_scale: PositiveFloat = 10000.0
    """Start of that factor, where 10000 stands for the calibration that the data give, 20000 for twice it."""

    cbam_encoder: Flag = False
    """Channel and spatial attention (CBAM) after every level of the encoder."""

    cbam_bottleneck: Flag = False
    """The same after the bottleneck."""

    cbam_decoder: Flag = False
    """The same after every level of the decoder."""

    eca_encoder: Flag = False
    """Efficient channel attention (ECA) after every level of the encoder."""

    eca_decoder: Flag = False
    """The same after every level of the decoder."""

    spatial_decoder: Flag = False
    """Spatial attention after every level of the decoder."""

    decoder_spatial_kernel: Annotated[
        PositiveInt, Rule("an odd integer >= 1", lambda side: side % 2 == 1)
    ] = 7
    """Side of the kernel of spatial_decoder, in pixels."""

    batch_norm: Flag = False
    """Normalize by the batch, in place of groups of channels."""

    use_shared_decoder: Flag = True
    """One decoder for amplitude and phase; off: one for each."""

    decoder_last_amp_channels: PositiveInt | None = None
    """Amplitudes a group's network predicts; none, and the only number there is: C_model, one for each pattern."""

    decoder_last_c_outer_fraction: Fraction = 0.0
    """Share of the last decoder's channels that predict the outer band of a patch; 0 leaves it to the physics."""

    edge_pad: NonNegativeInt | None = None
    """Width of the outer band with probe_big, in pixels, at most N/4; none is N/16. Without probe_big it is N/4."""

    amp_loss: Smoothness = None
    """A further loss on the amplitude of the object."""

    amp_loss_coeff: NonNegativeFloat = 1.0
    """Its weight."""

    phase_loss: Smoothness = None
    """A further loss on the phase of the object."""

    phase_loss_coeff: NonNegativeFloat = 1.0
    """Its weight."""

    amplitude_variance_loss: Flag = False
    """Add the variance of the object's amplitude to the loss."""

    amplitude_variance_coeff: NonNegativeFloat = 0.01
    """Its weight."""

    probe_reference_coeff: NonNegativeFloat = 0.0
    """Above 0: refine the probe, and add its relative squared distance from the guess with this weight to the loss."""

    num_datasets: PositiveInt = 1
    """Scans in the training data; 1 does not ask. Each has its own probe and intensity factor."""

    max_position_jitter: Annotated[
        int,
        only(
            10,
            "It reserves a margin on a canvas, but canvases here are exactly as large as their patches need.",
        ),
    ] = 10
    """Has one value: canvases need no margin."""

    offset: Annotated[
        int, only(6, "It spaces the patches of a regular grid, but groups here have scan positions.")
    ] = 6
    """Has one value: groups are made of scan positions."""


class TrainingConfig(
    CheckedDataclass,
    label="TrainingConfig",
    also={"warmup_epochs": "lr_warmup_epochs", "min_lr_ratio": "lr_min_ratio"},
):
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

    train_data_file: OptionalFile = None
    """The scan to train on: a file, or a folder of NPZ files that are one data set."""

    test_data_file: OptionalFile = None
    """A scan to validate on; none splits the training data."""

    output_dir: File = Path("training_outputs")
    """Folder for everything a training writes."""

    learning_rate: PositiveFloat | None = None
    """Step size of the optimizer; none leaves it to other sources."""

    scheduler: Scheduler | None = None
    """Course of the learning rate; none leaves it to other sources."""

    accum_steps: PositiveInt | None = None
    """Batches per optimizer step; none leaves it to other sources."""

    gradient_clip_val: PositiveFloat | None = None
    """Bound on the gradient; none leaves it to other sources."""

    num_workers: NonNegativeInt | None = None
    """Loading processes; none leaves it to other sources."""

    device: Accelerator | None = None
    """What to compute on; where there is no GPU, cuda means the CPU. None leaves it to other sources."""

    n_devices: PositiveInt | None = None
    """Devices that train together; none leaves it to other sources."""

    strategy: Strategy | None = None
    """How several devices share the work; none leaves it to other sources."""

    framework: Engine = "Lightning"
    """What trains."""

    orchestrator: Engine = "Lightning"
    """What runs the training."""

    epochs_fine_tune: NonNegativeInt = 0
    """Epochs after the others at a lower rate."""

    fine_tune_gamma: Fraction = 0.1
    """Their rate, relative to the last one before them."""

    enable_staged_finetuning: Flag = False
    """Then train parts of the network in stages, each part at its share of learning_rate and the others frozen; a stage
    ends early where the monitored metric stalls."""

    finetune_stage1_epochs: PositiveInt = 7
    """Epochs of the first stage, which trains the decoder."""

    finetune_stage1_lr_decoder: NonNegativeFloat = 0.1
    """Share of learning_rate of the decoder in the first stage."""

    finetune_stage2_epochs: PositiveInt = 7
    """Epochs of the second stage: upper encoder, decoder and phase head."""

    finetune_stage2_lr_encoder_top: NonNegativeFloat = 0.01
    """Share of the upper encoder (its deeper level and the bottleneck) in the second stage."""

    finetune_stage2_lr_decoder: NonNegativeFloat = 0.05
    """Share of the decoder in the second stage."""

    finetune_stage2_lr_phase_head: NonNegativeFloat = 0.1
    """Share of the last layer that gives the phase, in the second stage."""

    finetune_stage3_epochs: PositiveInt = 5
    """Epochs of the third stage: all parts."""

    finetune_stage3_lr_encoder_bottom: NonNegativeFloat = 0.005
    """Share of the first level of the encoder in the third stage."""

    finetune_stage3_lr_encoder_top: NonNegativeFloat = 0.01
    """Share of the upper encoder in the third stage."""

    finetune_stage3_lr_decoder: NonNegativeFloat = 0.02
    """Share of the decoder in the third stage."""

    finetune_stage3_lr_phase_head: NonNegativeFloat = 0.05
    """Share of the last layer that gives the phase, in the third stage."""

    finetune_skip_stage3: Flag = True
    """Leave the third stage out."""

    finetune_early_stop_patience: PositiveInt = 3
    """Epochs without improvement that end a stage."""

    finetune_val_split: Annotated[
        NonNegativeFloat, Rule("a number from 0 to below 1", lambda share: share < 1)
    ] = 0.05
    """Share of the groups that validate, where there are stages."""

    notes: str = ""
    """Kept with the model."""

    model_name: str = "PtychoPINNv2"
    """Kept with the model."""


class InferenceConfig(CheckedDataclass, label="InferenceConfig"):
    """How a trained network's patches become one picture."""

    batch_size: PositiveInt = 16
    """Patterns in one step of the network."""

    middle_trim: NonNegativeInt = 0
    """Side of the central square of a patch that enters the picture, in pixels; 0 is the whole patch."""

    pad_eval: Flag = False
    """Keep the outer band of a patch, as in training."""

    window: NonNegativeInt = 20
    """Pixels trimmed from the border of the picture."""

    experiment_number: NonNegativeInt = 0
    """Kept with the model."""

    patch_weighting: Annotated[Literal["probe", "uniform"], Exact()] = "probe"
    """Weight of a patch's pixels in the picture: their illumination, or all the same."""


class DatagenConfig(CheckedDataclass, label="DatagenConfig"):
    """Nothing: simulated scans are described where they are made. Callers pass one on, so it can be built."""

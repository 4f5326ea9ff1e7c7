"""[model]: the network and the physics it is trained through; the text under a field is its help text."""

from typing import Annotated, Literal

from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.field_types import Activation, NonNegativeFloat, PatternSize
from ptycho.config.fields import Exact, Flag, PositiveFloat, PositiveInt


class ModelConfig(CheckedDataclass, table="model"):
    """The network and the physics it is trained through."""

    N: PatternSize = 64
    """Side of a diffraction pattern and of an object patch, in pixels; 0 takes it from the data."""

    gridsize: PositiveInt = 1
    """Groups of gridsize x gridsize neighbouring patterns are reconstructed together."""

    n_filters_scale: PositiveInt = 2
    """Width of the network: its first level has 8 x n_filters_scale channels."""

    model_type: Annotated[Literal["pinn", "supervised"], Exact()] = "pinn"
    """What the network learns from: the measured patterns through the physics (pinn), or labels (supervised)."""

    architecture: Annotated[Literal["unrolled", "cnn"], Exact()] = "unrolled"
    """unrolled: physics steps, each corrected by a U-Net; cnn: one U-Net from the pattern to the patch."""

    n_physics_steps: PositiveInt = 1
    """Physics steps before each learned correction of the unrolled network."""

    n_unrolled_steps: PositiveInt = 3
    """Learned corrections of the unrolled network, each after n_physics_steps physics steps."""

    amp_activation: Activation = "sigmoid"
    """Activation at the network's amplitude output; swish and silu are the same function."""

    object_big: Flag = True
    """Combine the patches of a group on a shared canvas; off: each pattern has its own patch alone."""

    probe_big: Flag = True
    """Let the network's field of view be 7/8 of the patch; off: its central square of side N/2. Needs pad_object."""

    pad_object: Flag = True
    """Pad a patch with the current object outside the field of view; off: the field of view is the whole patch."""

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

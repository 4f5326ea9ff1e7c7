"""[inference]: what is reconstructed with a trained model; the text under a field is its help text."""

import dataclasses

from ptycho.config.data import DataConfig
from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.field_types import Backend, Domain, File, OptionalFile, SaveFormat, path
from ptycho.config.fields import Flag, PositiveInt, Seed
from ptycho.config.model import ModelConfig


class InferenceConfig(
    CheckedDataclass,
    table="inference",
    renamed={"n_images": "n_groups"},
    recipe_omits=("model",),  # which is as it was trained
):
    """One reconstruction: a trained model and the scan to reconstruct."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    """The network and the physics, as trained."""

    model_path: OptionalFile = path(None)
    """Folder of the trained model; it holds wts.h5.zip."""

    test_data_file: OptionalFile = path(None)
    """The scan to reconstruct: a file, or a folder of NPZ files that are one data set."""

    n_groups: PositiveInt | None = None
    """Number of groups to reconstruct from; none is one for every scan position."""

    n_subsample: PositiveInt | None = None
    """Number of scan positions to draw before grouping; none keeps all."""

    subsample_seed: Seed | None = None
    """Seed for drawing scan positions and groups; none uses the seed of the run."""

    neighbor_count: PositiveInt = 4
    """A group is drawn from this many nearest neighbours of a scan position."""

    debug: Flag = False
    """Also write the canvas before its border is trimmed, and the error of every pattern."""

    start: OptionalFile = path(None)
    """Take probe, positions and intensities of the scan from here: a run's folder or its reconstruction.npz. none: as
    the file of the scan has them."""

    output_dir: File = path("inference_outputs")
    """Folder for everything a reconstruction writes."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: from the file or its values."""

    backend: Backend = "pytorch"
    """Implementation of the reconstruction; tensorflow belongs to another distribution."""

    save: SaveFormat = "none"
    """Also write the result for other programs: h5 (a ptychodus product), cxi, tiff (32-bit, for ImageJ), or all."""

    unwrap_phase: Flag = False
    """With save tiff, unwrap the phase of the object, so that it does not jump by a turn."""

    remove_ramp: Flag = False
    """With save, remove the object's linear phase ramp, which patterns do not determine."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """How scans are read."""

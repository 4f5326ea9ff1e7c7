"""The scans that ptychodus hands over: counts, and positions in pixels of the object, in files or in memory."""

import copy
import dataclasses
import time
from enum import Enum
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike

from ptycho.config.errors import printable
from ptycho.raw_data import RawData
from ptycho_torch.api.settings import Configurations

CENTRED_PIXEL: Final = 0.5
"""Here the patch around position p begins at pixel p - N/2; with ptychodus it is centred on p, so that p + 1/2 says the
same."""


class DataloaderFormats(Enum):
    """Who reads the data."""

    LIGHTNING_MODULE = "lightning_only_module"

    @classmethod
    def _missing_(cls, value: object) -> None:
        choices = ", ".join(repr(member.value) for member in cls)
        raise ValueError(f"data_format: expected {choices}; got {value!r}. Set it to this.")


class PtychoDataLoader:
    """The scans of a run.

    Args:
        data_dir: folder whose NPZ files are the data; other files in it are left alone.
        config_manager: the configurations.
        data_format: who reads the data.
        output_dir: folder for runs.

    Attributes:
        output_dir: a new folder below the one given, for this run alone.
    """

    def __init__(
        self,
        data_dir: str | Path,
        config_manager: Configurations,
        data_format: DataloaderFormats = DataloaderFormats.LIGHTNING_MODULE,
        output_dir: str | Path = "training_outputs",
    ) -> None:
        self.data_dir = Path(data_dir)
        self.config_manager = config_manager
        self.data_format = DataloaderFormats(data_format)
        self.output_dir = _new_folder(Path(output_dir))
        self._scans: list[RawData] = []

    @classmethod
    def from_np(
        cls,
        diff_patterns: ArrayLike,
        probe: ArrayLike,
        positions: ArrayLike,
        config_manager: Configurations,
    ) -> Self:
        """The patterns, the illumination and the positions of one scan in memory.

        Args:
            diff_patterns: (n, N, N), counts, or amplitudes where `DataConfig.measurement_domain` is 'amplitude'; zero
                frequency at the centre.
            probe: complex (N, N) or (modes, N, N).
            positions: (n, 2), rows (y, x), object-array pixels.
            config_manager: the configurations.

        Raises:
            DataError: everything that is wrong with the arrays.
        """
        loader = cls.__new__(cls)
        loader.config_manager = config_manager
        places = np.asanyarray(positions) + CENTRED_PIXEL
        loader._scans = [RawData.from_arrays(diff_patterns, places, probe, domain=loader._domain)]
        loader._probe_power = float(np.sum(np.abs(np.asarray(probe, dtype=np.complex128)) ** 2))
        return loader

    @property
    def _domain(self) -> str:
        """How patterns are read, from files or from memory; ptychodus hands over counts."""
        domain = self.config_manager.data_config.measurement_domain
        return "intensity" if domain == "auto" else domain

    def scans(self) -> list[RawData]:
        """The scans, which are read at the first call.

        Raises:
            FileNotFoundError: there are no NPZ files.
            DataError: a file is not what the data contract says.
        """
        if not self._scans:
            files = sorted(self.data_dir.glob("*.npz"))
            if not files:
                raise FileNotFoundError(
                    f"{printable(str(self.data_dir))}: expected NPZ files to train on; got none. Export some first."
                )
            read = (RawData.from_file(file, self._domain) for file in files)
            self._scans = [
                dataclasses.replace(scan, positions_px=scan.positions_px + CENTRED_PIXEL) for scan in read
            ]
        return self._scans

    def unread(self) -> Self:
        """The same scans, to be read again."""
        other = copy.copy(self)
        other._scans = []
        return other

    @property
    def probe_power(self) -> float:
        """Photons of the probe that was given, in whatever unit its caller has."""
        return self._probe_power


def _new_folder(place: Path) -> Path:
    """A folder for a run, named by the time; another name where there is one already."""
    name = time.strftime("run_%Y%m%d_%H%M%S")
    for number in range(1000):
        folder = place / (name if number == 0 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"{place / name}: expected a free name; got none. Clean up the folder.")

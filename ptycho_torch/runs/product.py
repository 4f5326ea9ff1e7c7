"""What a reconstruction gives, with a network or without: the arrays of its file, and where they are in the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptycho.atomic import atomic_write
from ptycho.config.errors import printable
from ptycho.geometry import Geometry
from ptycho.judgement import judgement
from ptycho.model_archive import PROBLEM
from ptycho.raw_data import RawData
from ptycho.wording import counted
from ptycho_torch.reassembly import Reconstruction
from ptycho_torch.runs.figures import Placed

ARRAYS: Final = "reconstruction.npz"


@dataclass(frozen=True)
class Product:
    """An object, what it was found with, and its lengths.

    Attributes:
        name: of the scan.
        object: complex64 (H, W), transmission.
        coverage: float32 (H, W), light, or weight of the patches; 0 where nothing was seen.
        corner_px: row and column of ``object[0, 0]`` in the pixels of the positions.
        probe: complex64 (modes, N, N), photon**0.5.
        positions_px: float64 (n, 2), rows (y, x), as refined.
        rows: int64 (n,), where each pattern is in the file.
        intensities: float64 (n,), of the beam in each pattern, relative to their geometric mean; None: not looked at.
        geometry: lengths of the experiment, as far as they are known.
    """

    name: str
    object: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    corner_px: tuple[int, int]
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    rows: NDArray[np.int64]
    intensities: NDArray[np.float64] | None
    geometry: Geometry

    @property
    def pixel_m(self) -> tuple[float, float] | None:
        """Side of an object pixel, rows and columns; None where it is not known."""
        return self.geometry.object_pixel_m

    @property
    def probe_powers(self) -> NDArray[np.float64]:
        """Share of each mode, float64 (modes,)."""
        powers = np.square(np.abs(self.probe), dtype=np.float64).sum(axis=(1, 2))
        return powers / max(float(powers.sum()), np.finfo(float).tiny)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of reconstruction.npz.

        ``object`` complex64 (H, W), ``corner_px`` int64 (2,), ``coverage`` float32 (H, W), ``probe`` complex64
        (modes, N, N) in photon**0.5, ``probe_powers`` float64 (modes,), which sum to 1, ``positions_px`` float64
        (n, 2), ``pattern_rows`` int64 (n,) and, where they are known, ``intensities`` float64 (n,) and
        ``object_pixel_size_m`` float64 (2,), rows and columns.
        """
        arrays: dict[str, NDArray[Any] | None] = {
            "object": self.object,
            "corner_px": np.array(self.corner_px, dtype=np.int64),
            "coverage": self.coverage,
            "probe": self.probe,
            "probe_powers": self.probe_powers,
            "positions_px": self.positions_px,
            "pattern_rows": self.rows,
            "intensities": self.intensities,
            "object_pixel_size_m": None if self.pixel_m is None else np.array(self.pixel_m),
        }
        return {name: values for name, values in arrays.items() if values is not None}

    def save(self, folder: Path, **further: NDArray[Any]) -> Path:
        """Write reconstruction.npz into a folder, with further arrays."""
        with atomic_write(folder / ARRAYS) as file:
            np.savez(file, **self.arrays(), **further)
        return folder / ARRAYS

    def placed(self, figures: dict[str, Any]) -> Placed:
        """Where pictures show it; above them the name of the scan and its figures, and what speaks against them."""
        parts = [
            f"R {figures['r_factor']:.4f}",
            f"deviance {figures['poisson_deviance_per_pixel']:.3g} per pixel",
        ]
        parts[-1] += f" ({figures['patterns']} patterns)"
        is_solved = "n_iterations" in figures
        if is_solved:
            parts.append(counted(figures["n_iterations"], "iteration"))
        verdict = judgement(
            figures,
            "solver" if is_solved else "network",
            problem=figures.get(PROBLEM),
            is_finished=not figures.get("interrupted"),
        )
        doubt = "" if verdict.level in ("good", "open") else f"\n{verdict.headline}"
        return Placed(f"{self.name}: {', '.join(parts)}{doubt}", self.corner_px, self.pixel_m)


def product_of(
    found: Reconstruction,
    scan: RawData,
    positions_px: NDArray[np.float64] | None = None,
    intensities: NDArray[np.float64] | None = None,
) -> Product:
    """What was found of a scan.

    Args:
        found: object, probe and registration.
        scan: what was reconstructed.
        positions_px: float64 (n, 2), where they were refined; None: those of the scan.
        intensities: float64 (n,), where they were fitted; None: those that the scan came with, if any.
    """
    first = [inner - outer for inner, outer in zip(found.corner_px, found.canvas_corner_px, strict=True)]
    height, width = found.object.shape
    return Product(
        name=printable(scan.path.stem) if scan.path is not None else "scan in memory",
        object=found.object,
        coverage=found.coverage[first[0] : first[0] + height, first[1] : first[1] + width],
        corner_px=found.corner_px,
        probe=found.probe,
        positions_px=scan.positions_px if positions_px is None else positions_px,
        rows=scan.rows,
        intensities=scan.intensities if intensities is None else intensities,
        geometry=Geometry.of(scan.metadata, scan.patterns.shape[-1]),
    )


def pixel_sizes_of(scans: Sequence[RawData]) -> dict[str, tuple[float, float] | None]:
    """Side of an object pixel in metres, rows and columns, of each scan by its path; None where it is not known."""
    return {str(one.path): Geometry.of(one.metadata, one.patterns.shape[-1]).object_pixel_m for one in scans}

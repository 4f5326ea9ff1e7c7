"""One scan in memory: diffraction patterns, scan positions, probe, and what else a file says about them.

Patterns have axes (n, N, N) and the zero frequency at [N//2, N//2]. Positions are rows (y, x) in object
pixels, y downwards: the patch of (y, x) is object[y - N//2 : y + N//2, x - N//2 : x + N//2], its far field
fftshift(fft2(probe * patch, norm="ortho")). Files store columns and rows apart (`xcoords`, `ycoords`); they
are joined here and nowhere else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from ptycho.config.data import DataConfig
from ptycho.config.errors import printable
from ptycho.data_error import DataError, problem
from ptycho.display import scan_html
from ptycho.geometry import Geometry
from ptycho.grouped_data import GroupedData, grouped_data
from ptycho.inspection import Inspection, inspected
from ptycho.npz_files import ScanFile, write_npz
from ptycho.photon_scale import focus_of, photon_scale
from ptycho.scan_arrays import ORIGIN, columns_of, scan_of_arrays
from ptycho.scan_checks import Checker
from ptycho.scan_domain import Domain, TrainedDomains, check_word, decide_domain
from ptycho.scan_files import read_scan_file
from ptycho.scan_masks import as_plain
from ptycho.scan_objects import Labels, object_index
from ptycho.scan_verdicts import Seen, examine, problems_of, tell, tell_each
from ptycho.stored_array import Stack, taken
from ptycho.verdict import Verdict
from ptycho.wording import counted
from ptycho.workflows.backend_selector import load_backend

__all__ = ["DataError", "Labels", "RawData", "load_scans"]

_OBJECTS: Final = {"object_guess": "objectGuess", "object_truth": "objectTruth"}
"""Objects that go with the probe, by the attribute that holds them."""


@dataclass(frozen=True, eq=False, repr=False)
class RawData:
    """One scan, checked. Make it with `from_file`, `from_arrays` or `from_coords_without_pc`.

    Attributes:
        patterns: (n, N, N) in the dtype of the file, or left there (`StoredArray`) until indexed; see `domain`.
        domain: 'amplitude' (square root of photon counts) or 'intensity' (counts).
        domain_reason: why it is taken to be that.
        positions_px: float64 (n, 2), rows (y, x), object pixels.
        probe: complex64 (modes, N, N); the sum of abs(probe)^2 is the mean counts of a transparent object's pattern.
        has_probe: whether the file has a probe, or optics that one follows from. If not, `probe` is the focus of the
            mean pattern, which the backend searches the defocus of before it uses it.
        bad_pixels: bool (N, N) or (n, N, N), True where nothing was measured; or None.
        holdout: bool (n,), True for patterns kept for evaluation; or None.
        half: int8 (n,), 0 or 1, two disjoint halves; or None.
        object_guess: complex64 (H, W), initial or known object, which goes with `probe`; or None.
        object_truth: complex64 (H, W), for evaluation and supervised labels only; or None.
        probe_truth: complex64 (modes, N, N), for evaluation only; or None.
        scan_index: int64 (n,), which object a position belongs to (zeros where the file does not say).
        labels: ground-truth patches for supervised training; or None.
        nphotons: stated incident photons of a pattern; or None.
        metadata: JSON-safe mapping from the file.
        path: the file, or None.
        rows: int64 (n,), where each pattern is in the file; empty ones and those far away are left out.
        verdicts: what was noticed while it was read; what is no mere note was logged.
        intensities: float64 (n,), of the beam in each pattern, relative, as an earlier run has found them; or None.
        reading: the settings of [data] that the file was read with.
        all_positions_px: positions of the whole scan, where the patterns are some of it (`inspect`); or None.
    """

    patterns: Stack
    domain: Domain
    domain_reason: str
    positions_px: npt.NDArray[np.float64]
    probe: npt.NDArray[np.complex64]
    scan_index: npt.NDArray[np.int64]
    bad_pixels: npt.NDArray[np.bool_] | None
    holdout: npt.NDArray[np.bool_] | None
    half: npt.NDArray[np.int8] | None
    object_guess: npt.NDArray[np.complex64] | None
    object_truth: npt.NDArray[np.complex64] | None
    probe_truth: npt.NDArray[np.complex64] | None
    labels: Labels | None
    nphotons: float | None
    metadata: Mapping[str, Any]
    path: Path | None
    rows: npt.NDArray[np.int64]
    verdicts: tuple[Verdict, ...]
    intensities: npt.NDArray[np.float64] | None = None
    has_probe: bool = True
    reading: DataConfig = field(default_factory=DataConfig)
    all_positions_px: npt.NDArray[np.float64] | None = None
    _repr_html_ = scan_html

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        domain: str = "auto",
        trained: TrainedDomains | None = None,
        reading: DataConfig | None = None,
        *,
        some: bool = False,
    ) -> Self:
        """Read one scan from an NPZ file in the data contract, or one of another layout; see `DataConfig`.

        Args:
            path: the file.
            domain: 'amplitude' or 'intensity'; 'auto' asks the file.
            trained: what the training of the model in use knew of the domain; see `ptycho.scan_domain`.
            reading: where its arrays are, and how they are used; None: as its format has it.
            some: whether some patterns are enough, where there are many; `rows` tells which.

        Raises:
            FileNotFoundError: no such file.
            DataError: everything that is wrong with the file, together.
            ValueError: another word for the domain.
        """
        path = Path(path)
        check_word(domain)
        reading = reading or DataConfig()
        expected = "auto" if trained is None else trained.expected
        file = read_scan_file(path, reading, domain, expected, some=some)
        return cls._build(file, domain, printable(str(path)), path, trained, reading)

    @classmethod
    def from_arrays(
        cls,
        patterns: npt.ArrayLike,
        positions_px: npt.ArrayLike,
        probe: npt.ArrayLike | None,
        *,
        domain: str = "auto",
        bad_pixels: npt.ArrayLike | None = None,
        holdout: npt.ArrayLike | None = None,
        half: npt.ArrayLike | None = None,
        object_guess: npt.ArrayLike | None = None,
        object_truth: npt.ArrayLike | None = None,
        probe_truth: npt.ArrayLike | None = None,
        scan_index: npt.ArrayLike | None = None,
        labels: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        nphotons: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a scan from arrays (see the class for shapes); a probe may be None.

        The patterns are kept, not copied, unless they are stated to be counts and some are below 0, which become 0.

        Raises:
            DataError: everything that is wrong with the arrays, together.
            ValueError: another word for the domain.
        """
        label_amp, label_phase = labels or (None, None)
        given = {
            "diff3d": patterns,
            **columns_of(positions_px),
            "probeGuess": probe,
            "bad_pixels": bad_pixels,
            "holdout": holdout,
            "half": half,
            "objectGuess": object_guess,
            "objectTruth": object_truth,
            "probeTruth": probe_truth,
            "scan_index": scan_index,
            "label_amp": label_amp,
            "label_phase": label_phase,
            "nphotons": nphotons,
            "metadata": None if metadata is None else json.dumps(dict(metadata)),
        }
        return cls._build(scan_of_arrays(given, domain), domain, ORIGIN)

    @classmethod
    def from_coords_without_pc(
        cls,
        xcoords: npt.ArrayLike,
        ycoords: npt.ArrayLike,
        diff3d: npt.ArrayLike,
        probeGuess: npt.ArrayLike,
        scan_index: npt.ArrayLike | None = None,
        objectGuess: npt.ArrayLike | None = None,
        domain: str = "intensity",
    ) -> Self:
        """Make a scan from columns and rows apart (historical names; shapes as in the file's keys).

        Patterns are counts, whole or not, unless the domain says otherwise: 'amplitude', or 'auto' as of a file.

        Raises:
            DataError: everything that is wrong with the arrays, together.
            ValueError: another word for the domain.
        """
        given = {"diff3d": diff3d, "xcoords": xcoords, "ycoords": ycoords, "probeGuess": probeGuess}
        given |= {"scan_index": scan_index, "objectGuess": objectGuess}
        return cls._build(scan_of_arrays(given, domain), domain, ORIGIN)

    def generate_grouped_data(self, N: int, K: int = 4, nsamples: int = 1, gridsize: int = 1) -> GroupedData:
        """The scan in the form that `ptycho.loader.load` takes (historical name).

        A loaded model goes over the whole scan at once and has every neighbour of a pattern on its canvas, so each
        scan position enters once, whatever neighbours and samples a network that sees groups alone would need.

        Args:
            N: side of the patterns.
            K: nearest neighbours of such a network, >= 0.
            nsamples: groups around each scan position of such a network, >= 1.
            gridsize: side of such groups, >= 1.

        Raises:
            DataError: patterns of another size, or a number out of range.
        """
        return grouped_data(self, N, K, nsamples, gridsize)

    @classmethod
    def _build(
        cls,
        file: ScanFile,
        domain: str,
        origin: str,
        path: Path | None = None,
        trained: TrainedDomains | None = None,
        reading: DataConfig | None = None,
    ) -> Self:
        """Check every array, decide the domain, examine the scan, scale the probe."""
        check_word(domain)
        arrays, rows = as_plain(file.arrays, origin), file.rows
        check = Checker(arrays, origin, file.names, binned=reading is not None and reading.bin > 1)
        metadata = check.metadata()
        patterns, summary = check.patterns()
        n, size = (None, None) if patterns is None else patterns.shape[:2]
        geometry = Geometry.of(metadata, size or 0)
        n_expected, has_lengths = n if rows is None else None, geometry.distance_m is not None
        positions = check.positions(n_expected, size, from_lengths=has_lengths)
        probe = check.probe("probeGuess", size)
        nphotons, stated = check.photon_number(metadata), check.bad_pixels(n, size)
        holdout, half = check.flags("holdout", (n,)), check.flags("half", (n,))
        objects = {name: check.object_(key) for name, key in _OBJECTS.items()}
        probe_truth = check.probe("probeTruth", size)
        scan_index = check.scan_index(n)
        labels = check.labels(n, size)
        found, verdicts = None, [*file.verdicts]
        if patterns is not None and summary is not None and check.is_sound(summary):
            decide = partial(decide_domain, domain, metadata, whole=summary.whole, trained=trained)
            of_file = (rows, file.verdicts, scan_index, file.dtype)
            found = examine(Seen(patterns, summary, stated, positions, probe, geometry, *of_file), decide)
            if found.decision.domain == "amplitude" and nphotons is not None:
                check.not_intensity(found.mean_counts, nphotons)
            verdicts = found.verdicts
        check.problems += problems_of(verdicts, check.wrong, geometry, origin, file.names)
        noticed = [one for one in file.verdicts if one.severity != "error"]
        tell_each(noticed if check.problems else (), origin)  # which problems may follow from
        check.raise_problems()
        if found is None or positions is None:
            raise AssertionError("an array is missing, but no problem was reported")
        tell(found, origin)
        everywhere, positions = positions, positions if rows is None else positions[rows]

        def kept(array: Any) -> Any:
            return None if array is None else taken(array, found.rows)

        is_of_file = probe is not None
        if probe is None:
            probe = focus_of(kept(found.patterns), found.bad_pixels_of_rows, found.decision.domain)
        scaled = photon_scale(
            probe, objects, kept(positions), found.mean_counts, origin, is_of_file=is_of_file
        )
        return cls(
            patterns=kept(found.patterns),
            domain=found.decision.domain,
            domain_reason=found.decision.reason,
            positions_px=kept(positions),
            probe=scaled.probe,
            scan_index=object_index(kept(scan_index), len(found.rows), origin),
            labels=None if labels is None else Labels(*map(kept, labels)),
            bad_pixels=found.bad_pixels_of_rows,
            holdout=kept(holdout),
            half=None if half is None else kept(half).astype(np.int8),
            probe_truth=probe_truth,
            nphotons=nphotons,
            metadata=metadata,
            path=path,
            rows=found.rows if rows is None else rows[found.rows],
            verdicts=tuple(found.verdicts),
            has_probe="probeGuess" in arrays,
            reading=reading or DataConfig(),
            all_positions_px=None if rows is None else everywhere,
            **cast(Any, scaled.objects),
        )

    def __len__(self) -> int:
        return len(self.patterns)

    def __repr__(self) -> str:
        shape, modes = " x ".join(map(str, self.patterns.shape)), counted(len(self.probe), "probe mode")
        return f"RawData({shape} {self.patterns.dtype} {self.domain}, {modes}, {self.path or 'memory'})"

    def amplitude(self, index_array: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Amplitudes (square roots of counts) of chosen patterns, whatever the domain.

        Args:
            index_array: integers (k,), rows of `patterns`.

        Returns:
            float32 (k, N, N), a copy; no other pattern is touched.
        """
        chosen = np.asarray(self.patterns[np.asarray(index_array)])
        return np.sqrt(chosen, dtype=np.float32) if self.domain == "intensity" else chosen.astype(np.float32)

    def to_file(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write the NPZ of the data contract; reading it back gives an equal scan.

        Args:
            path: the file.
            overwrite: whether a file that is there is replaced.

        Raises:
            DataError: the name does not end in `.npz`.
            FileExistsError: the file is there, and not to be replaced.
        """
        write_npz(Path(path), self.to_arrays(), overwrite=overwrite)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the NPZ of the data contract, by name."""
        found: dict[str, npt.ArrayLike | None] = {
            "diff3d": self.patterns,
            "xcoords": self.positions_px[:, 1],
            "ycoords": self.positions_px[:, 0],
            "probeGuess": self.probe if self.has_probe else None,
            "scan_index": self.scan_index,
            "bad_pixels": self.bad_pixels,
            "holdout": self.holdout,
            "half": self.half,
            "objectGuess": self.object_guess,
            "objectTruth": self.object_truth,
            "probeTruth": self.probe_truth,
            "label_amp": None if self.labels is None else self.labels.amplitude,
            "label_phase": None if self.labels is None else self.labels.phase,
            "nphotons": self.nphotons,
            "metadata": json.dumps({**self.metadata, "measurement_domain": self.domain}),
        }
        return {key: np.asarray(value) for key, value in found.items() if value is not None}

    def inspect(self) -> Inspection:
        """What is known of the scan: figures, verdicts, and a picture, which a notebook shows."""
        return inspected(self, load_backend("pytorch").compare_orientations(self))

    @property
    def diff3d(self) -> Stack:
        """Historical name of `patterns`."""
        return self.patterns

    @property
    def xcoords(self) -> npt.NDArray[np.float64]:
        """Scan positions along columns, float64 (n,), object pixels."""
        return self.positions_px[:, 1]

    @property
    def ycoords(self) -> npt.NDArray[np.float64]:
        """Scan positions along rows, float64 (n,), object pixels."""
        return self.positions_px[:, 0]

    @property
    def probeGuess(self) -> npt.NDArray[np.complex64]:
        """The probe, complex64: (N, N) where it has one mode, else (modes, N, N)."""
        return self.probe[0] if len(self.probe) == 1 else self.probe

    @property
    def objectGuess(self) -> npt.NDArray[np.complex64] | None:
        """Historical name of `object_guess`."""
        return self.object_guess


def load_scans(
    path: str | Path,
    domain: str = "auto",
    trained: TrainedDomains | None = None,
    reading: DataConfig | None = None,
) -> list[RawData]:
    """Read a file (see `RawData.from_file`), or all NPZ files of a directory in the order of their names.

    Raises:
        FileNotFoundError: nothing at that path, or a directory without `*.npz`.
        DataError: what is wrong with a file.
    """
    path = Path(path)
    if not path.is_dir():
        return [RawData.from_file(path, domain, trained, reading)]
    files = sorted(path.glob("*.npz"))
    if not files:
        message = problem("data directory", "*.npz files", "none", path, "Name another directory.")
        raise FileNotFoundError(message)
    return [RawData.from_file(file, domain, trained, reading) for file in files]

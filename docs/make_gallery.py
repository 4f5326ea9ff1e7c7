"""Draw the pictures of docs/gallery.md: `python docs/make_gallery.py [NAME ...]`.

Every picture is a reconstruction by the solver, of a simulated scan in which one thing is wrong, or put right. The
mistake is in the scan or in the settings; nothing is drawn by hand. The figures above a picture are those of its run.
"""

import io
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import ptycho

IMAGES: Final = Path(__file__).parent / "images" / "gallery"
SCAN: Final[Mapping[str, Any]] = {"N": 64, "n_positions": 250, "domain": "intensity"}


@dataclass(frozen=True)
class Case:
    """One picture: how its scan differs, and what the solver is asked for."""

    simulated: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[dict[str, Any]], None] = lambda arrays: None
    settings: Mapping[str, Any] = field(default_factory=dict)


def mirrored(arrays: dict[str, Any]) -> None:
    """The motor of x runs against the beam."""
    arrays["xcoords"] = -arrays["xcoords"]


def exchanged(arrays: dict[str, Any]) -> None:
    """Rows are taken for columns."""
    arrays["xcoords"], arrays["ycoords"] = arrays["ycoords"], arrays["xcoords"]


def stretched(arrays: dict[str, Any]) -> None:
    """A distance that is wrong by a fifth makes all positions so."""
    arrays["xcoords"], arrays["ycoords"] = 1.2 * arrays["xcoords"], 1.2 * arrays["ycoords"]


def jittered(arrays: dict[str, Any]) -> None:
    """Each position is off by one and a half pixels."""
    rng = np.random.default_rng(1)
    for name in ("xcoords", "ycoords"):
        arrays[name] = arrays[name] + rng.normal(0, 1.5, len(arrays[name]))


def other_probe(arrays: dict[str, Any]) -> None:
    """The probe of an experiment with three quarters of the defocus."""
    arrays["probeGuess"] = ptycho.simulate(**SCAN, defocus_rad=8).probe


def without_probe(arrays: dict[str, Any]) -> None:
    """A file that has no probe."""
    del arrays["probeGuess"]


def clipped(arrays: dict[str, Any]) -> None:
    """A detector that counts no further than a tenth of the brightest pixel."""
    arrays["diff3d"] = np.minimum(arrays["diff3d"], arrays["diff3d"].max() // 10)


def as_amplitudes(arrays: dict[str, Any]) -> None:
    """Counts that are taken for amplitudes; nothing tells how many photons there were."""
    arrays["diff3d"] = arrays["diff3d"].astype(np.float32)


FIXED: Final = {"refine_probe": False}
CASES: Final[Mapping[str, Case]] = {
    "good": Case(),
    "mirrored": Case(change=mirrored),
    "exchanged": Case(change=exchanged),
    "stretched": Case(change=stretched),
    "jittered": Case(change=jittered, settings=FIXED),
    "jittered-refined": Case(change=jittered, settings={**FIXED, "refine_positions": True}),
    "wrong-probe-fixed": Case(change=other_probe, settings=FIXED),
    "wrong-probe-refined": Case(change=other_probe),
    "no-probe": Case(change=without_probe),
    "no-overlap": Case(simulated={"n_positions": 36, "step_px": 26}),
    "wrong-domain": Case(change=as_amplitudes, settings={"measurement_domain": "amplitude"}),
    "clipped": Case(change=clipped),
    "modes-missing": Case(simulated={"n_modes": 3}, settings={**FIXED, "probe_modes": 1}),
    "modes": Case(simulated={"n_modes": 3}),
    "few-photons-no-prior": Case(simulated={"nphotons": 2e3}, settings={"prior": "none"}),
    "few-photons": Case(simulated={"nphotons": 2e3}),
}
"""Name of the picture -> how it came about."""


def reconstructed(case: Case, folder: Path) -> Any:
    """What the solver makes of a case."""
    scan = ptycho.simulate(**{**SCAN, **case.simulated})
    arrays: dict[str, Any] = {
        "diff3d": np.asarray(scan.patterns),
        "xcoords": scan.xcoords,
        "ycoords": scan.ycoords,
        "probeGuess": scan.probe,
        "measurement_domain": "intensity",
    }
    case.change(arrays)
    np.savez(folder / "scan.npz", **arrays)
    asked = {"accelerator": "cpu", "n_iterations": 60, "measurement_domain": "intensity", **case.settings}
    return ptycho.reconstruct(folder / "scan.npz", output_dir=folder / "run", **asked)


def draw(found: Any) -> Image.Image:
    """Amplitude and phase, where there is light, and the R factor beside that of the mean pattern."""
    figure = Figure(figsize=(4.6, 2.5), dpi=90, layout="constrained")
    with np.load(found.run_dir / "reconstruction.npz") as saved:
        seen = saved["coverage"] > 0.02 * saved["coverage"].max()
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mine, mean = (found.metrics[name] for name in ("r_factor", "mean_pattern_r_factor"))
    figure.suptitle(f"R factor {mine:.3f}, of the mean pattern {mean:.3f}", fontsize=9)
    shown = {"amplitude": np.abs(found.object), "phase": np.angle(found.object)}
    for axes, (name, image) in zip(figure.subplots(1, 2), shown.items(), strict=True):
        low, high = np.percentile(image[seen], (1, 99))
        axes.imshow(np.where(seen, image, np.nan)[inside], cmap="gray", vmin=low, vmax=high)
        axes.set_title(name, fontsize=8)
        axes.axis("off")
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return Image.open(written).convert("L").quantize(64)


def main() -> None:
    """Draw those that are named, or all."""
    IMAGES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = reconstructed(CASES[name], Path(folder))
            draw(found).save(IMAGES / f"{name}.png", optimize=True)
        print(name, {key: found.metrics.get(key) for key in ("r_factor", "unexplained", "problem")})


if __name__ == "__main__":
    main()

"""Iterative codes that `benchmarks.quality` measures beside the solver, each with what its documentation recommends.

All of them get the same counts, positions, modes to start from and flat object, and give their object on the same
canvas. Nothing but object and modes is refined: positions, intensities and background are known.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from ptycho_torch.patches import Frame, corners_of

Complex = NDArray[np.complex64]


class Problem(NamedTuple):
    """What every code gets."""

    counts: NDArray[np.float32]
    """(n, N, N), photons, zero frequency at (N//2, N//2)."""
    measured: NDArray[np.bool_]
    """(N, N), False where a detector pixel is bad."""
    positions_px: NDArray[np.float64]
    """(n, 2), rows (y, x)."""
    modes: Complex
    """(M, N, N) to start from, photon**0.5."""
    frame: Frame
    """The canvas of the object."""
    refine_probe: bool
    accelerator: str = "cpu"
    """cpu or cuda."""


class Found(NamedTuple):
    """Where a code is after some epochs."""

    epochs: int
    object: Complex
    """(H, W), on the canvas."""
    modes: Complex
    """(M, N, N)."""


class Peer(NamedTuple):
    """One code."""

    label: str
    modules: tuple[str, ...]
    """To import before the clock starts; the first is the package."""
    distribution: str | None
    run: Callable[[Problem], Iterator[Found]]
    most_modes: int
    on_gpu: bool = False

    def load(self) -> str | None:
        """Import what it needs; give its name with the version, or None where it is not installed."""
        if self.modules and find_spec(self.modules[0]) is None:
            return None
        for name in self.modules:
            import_module(name)
        return self.label if self.distribution is None else f"{self.label} {version(self.distribution)}"


LSQML_EPOCHS = (10, 20, 40, 80, 160, 320)
RPIE_EPOCHS = (5, 10, 20, 40, 80, 160, 320)
CDTOOLS_PHASES = ((50, 0.02, 10), (50, 0.005, 50), (30, 0.001, 50))
"""Epochs, learning rate and patterns in a batch, one phase after the other."""


def lsqml(problem: Problem) -> Iterator[Found]:
    """LSQML of pty-chi."""
    from ptychi import api
    from ptychi.api.task import PtychographyTask

    options: Any = api.LSQMLOptions()
    device = api.Devices.GPU if problem.accelerator == "cuda" else api.Devices.CPU
    options.reconstructor_options.default_device = device
    options.reconstructor_options.batch_size = 44
    options.reconstructor_options.noise_model = api.NoiseModels.GAUSSIAN
    options.reconstructor_options.random_seed = 0
    options.probe_options.optimizable = problem.refine_probe
    # A patch begins at its position plus this origin less (N - 1) / 2.
    options.object_options.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    options.object_options.position_origin_coords = [-0.5 - first for first in problem.frame.corner_px]
    try:
        task = PtychographyTask(
            options,
            diffraction_data=problem.counts,
            object_data=np.ones((1, *problem.frame.shape), dtype=np.complex64),
            probe_data=problem.modes[None],
            probe_position_x_px=problem.positions_px[:, 1],
            probe_position_y_px=problem.positions_px[:, 0],
            valid_pixel_mask=problem.measured,
        )
        done = 0
        for epochs in LSQML_EPOCHS:
            task.run(epochs - done)
            done = epochs
            found: tuple[Any, Any] = (task.get_data("object")[0], task.get_data("probe")[0])
            yield Found(done, *(one.cpu().numpy().copy() for one in found))
    finally:
        torch.set_default_device(None)  # pty-chi leaves one, which slows every later call of torch


def cdtools(problem: Problem) -> Iterator[Found]:
    """FancyPtycho of cdtools with Adam."""
    from cdtools.datasets import Ptycho2DDataset
    from cdtools.models import FancyPtycho
    from cdtools.reconstructors import AdamReconstructor

    torch.manual_seed(0)
    n_pixels = problem.counts.shape[-1]
    corners = problem.positions_px - n_pixels // 2 - np.array(problem.frame.corner_px)
    translations = np.concatenate([corners, np.zeros((len(corners), 1))], axis=1).astype(np.float32)
    basis = np.eye(3, 2, dtype=np.float32)  # of pixels: translations are in pixels too
    geometry = {"distance": 1.0, "basis": basis}
    data: Any = Ptycho2DDataset(
        translations, problem.counts, wavelength=1.0, detector_geometry=geometry, mask=problem.measured
    )
    model: Any = FancyPtycho(
        1.0,
        geometry,
        basis,
        problem.modes,
        np.ones(problem.frame.shape, dtype=np.complex64),
        background=np.full((n_pixels, n_pixels), 1e-6, dtype=np.float32),
        mask=problem.measured,
    )
    model.background.requires_grad = False
    model.probe.requires_grad = problem.refine_probe
    reconstructor: Any = AdamReconstructor(model, data)
    done = 0
    for epochs, rate, batch in CDTOOLS_PHASES:
        for _ in reconstructor.optimize(epochs, lr=rate, batch_size=batch, thread=False):
            pass
        done += epochs
        modes = (model.probe * model.probe_norm).detach().numpy()
        yield Found(done, model.obj.detach().numpy().copy(), modes)


RPIE_OBJECT, RPIE_PROBE = 0.5, 1.0
"""alpha and beta: how far the denominators are from the square of probe and object at each pixel."""


def rpie(problem: Problem) -> Iterator[Found]:
    """The regularized iterative engine: Maiden, Johnson and Li, Optica 4, 736 (2017), without its momentum.

    One pattern after the other in random order; the sub-pixel part of a position is a phase ramp on the probe.
    """
    rng, n_pixels = np.random.default_rng(0), problem.counts.shape[-1]
    canvas, probe = np.ones(problem.frame.shape, dtype=np.complex64), problem.modes[0].copy()
    amplitude = fft.ifftshift(np.sqrt(problem.counts), axes=(-2, -1))
    measured = None if problem.measured.all() else fft.ifftshift(problem.measured)
    corners = corners_of(torch.from_numpy(problem.positions_px), n_pixels).numpy() - problem.frame.corner_px
    rest = np.round(problem.positions_px) - problem.positions_px
    turns = np.exp(2j * np.pi * rest[..., None] * fft.fftfreq(n_pixels)).astype(np.complex64)
    done = 0
    for epochs in RPIE_EPOCHS:
        for _ in range(epochs - done):
            spectrum = fft.fft2(probe)
            for j in rng.permutation(len(amplitude)):
                row, column = corners[j]
                view = canvas[row : row + n_pixels, column : column + n_pixels]
                ramp = turns[j, 0, :, None] * turns[j, 1, None, :]
                moved, patch = fft.ifft2(spectrum * ramp), view.copy()
                wave = moved * patch
                far = fft.fft2(wave, norm="ortho")
                revised = far * (amplitude[j] / np.maximum(np.abs(far), 1e-9))
                if measured is not None:
                    revised = np.where(measured, revised, far)
                change = fft.ifft2(revised, norm="ortho") - wave
                power = np.abs(moved) ** 2
                view += moved.conj() * change / ((1 - RPIE_OBJECT) * power + RPIE_OBJECT * power.max())
                if problem.refine_probe:
                    light = np.abs(patch) ** 2
                    step = patch.conj() * change / ((1 - RPIE_PROBE) * light + RPIE_PROBE * light.max())
                    spectrum += fft.fft2(step) * ramp.conj()
            probe = fft.ifft2(spectrum)
        done = epochs
        yield Found(done, canvas.copy(), probe[None].copy())


PEERS = {
    "lsqml": Peer("pty-chi LSQML", ("ptychi", "ptychi.api.task"), "ptychi", lsqml, 99, on_gpu=True),
    "cdtools": Peer("cdtools", ("cdtools", "cdtools.reconstructors"), "cdtools-py", cdtools, 99),
    "rpie": Peer("textbook rPIE", (), None, rpie, 1),
}

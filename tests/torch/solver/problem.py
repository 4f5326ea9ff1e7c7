"""Small problems in double precision, and the solver's formulas once more in plain numpy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_torch.patches import frame_of
from ptycho_torch.solver.forward import Forward
from ptycho_torch.solver.patterns import Patterns

Complex = NDArray[np.complex128]


class Problem:
    """A random object under random modes at random positions; patterns of another object."""

    def __init__(self, n: int = 5, N: int = 8, n_modes: int = 1, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.N, self.n_modes = rng, N, n_modes
        self.positions = rng.uniform(N // 2, N // 2 + 7, (n, 2))
        self.frame = frame_of(torch.from_numpy(self.positions), N, 2)
        self.object = self.random(*self.frame.shape) * 0.3 + 1
        # a probe without the one frequency of an even grid that has no partner: its shift is not differentiable there
        self.modes = 3 * smooth(self.random(n_modes, N, N))
        other = self.random(*self.frame.shape) * 0.3 + 1
        amplitude = np.sqrt(intensities(other, self.modes, self.positions, self.frame.corner_px))
        self.patterns = amplitude.astype(np.float32)
        self.bad = rng.random((N, N)) < 0.1
        self.ids = np.arange(n)

    def random(self, *shape: int) -> Complex:
        return self.rng.normal(size=shape) + 1j * self.rng.normal(size=shape)

    def forward(self, **options: Any) -> Forward:
        bad = options.pop("bad_pixels", None)
        patterns = Patterns(self.patterns, "amplitude", bad)
        arguments = {"real": torch.float64} | options
        positions = torch.from_numpy(self.positions)
        forward = Forward(patterns, positions, self.frame, self.n_modes, **arguments)
        forward.set_probe(torch.from_numpy(self.modes))
        return forward


def smooth(image: Complex) -> Complex:
    """Without the frequency that an even grid holds once."""
    spectrum = np.fft.fft2(image)
    N = image.shape[-1]
    spectrum[..., N // 2, :] = 0
    spectrum[..., :, N // 2] = 0
    return np.fft.ifft2(spectrum)


def moved(modes: Complex, rest: NDArray[np.float64]) -> Complex:
    """Modes moved by a fraction of a pixel."""
    f = np.fft.fftfreq(modes.shape[-1])
    ramp = np.exp(-2j * np.pi * (f[:, None] * rest[0] + f[None] * rest[1]))
    return np.fft.ifft2(np.fft.fft2(modes) * ramp)


def intensities(object_: Complex, modes: Complex, positions: Any, corner_px: tuple[int, int]) -> Any:
    """Predicted photons (n, N, N), zero frequency at the centre."""
    N = modes.shape[-1]
    found = []
    for position in positions:
        row, column = np.round(position).astype(int) - N // 2 - np.array(corner_px)
        waves = moved(modes, position - np.round(position)) * object_[row : row + N, column : column + N]
        far = np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(-2, -1))
        found.append((np.abs(far) ** 2).sum(axis=0))
    return np.array(found)


def loss_of(predicted: Any, amplitude: Any, loss: str, dark: float, bad: Any = False) -> float:
    """Either loss, written out."""
    if loss == "amplitude":
        pixels = (amplitude - np.sqrt(predicted + 1e-6)) ** 2
    else:
        k, i = amplitude.astype(float) ** 2 + dark, predicted + dark
        pixels = i - k + k * np.log(k / i)
    return float(np.where(bad, 0, pixels).sum())

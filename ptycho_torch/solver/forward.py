"""The forward model of a whole scan and its gradients: one pass over the patterns, chunk by chunk.

    forward   F_pm = fft2(P_pm O_p, ortho),  I_p = sum_m abs(F_pm)^2;  O_p the patch at whole pixels, P_pm the mode P_m
              moved by the sub-pixel rest of the position and scaled by the root of the pattern's intensity
    backward  chi_pm = ifft2(e F_pm, ortho), e the excess of the loss (see losses)
              gO = place_p(sum_m conj(P_pm) chi_pm);  gP_m = sum_p of conj(O_p) chi_pm, moved back
              gs_p = Re sum_f 2 pi i f conj(F P_pm) F(conj(O_p) chi_pm) / N^2

Every gradient is a descent direction: -dL/dO* and -dL/dP* (Wirtinger), -(dL/ds)/2. The spectra of the modes are kept
with the zero frequency at (N//2, N//2), which multiplies each exit wave by a phase that only moves the far field to
where patterns are stored: nothing is reordered. Scales of the transforms are folded into the spectra.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.patches import Frame, add, corners_of, cut
from ptycho_torch.solver.losses import DARK, Loss, amplitude_excess, poisson_excess
from ptycho_torch.solver.patterns import Patterns

Ids = NDArray[np.int64]
Reduce = Callable[[Tensor], None]
"""Adds a tensor over all processes, in place."""

CACHE_PIXELS = 2**17
"""Complex pixels of a chunk, modes included: few enough for the caches of a CPU, and each call pays for itself."""
GPU_PIXELS = 2**24
"""The same where nothing needs to stay in a cache."""
BRIGHT_EVERY = 4
"""Patterns from one that the brightness is estimated from to the next."""
BLOCK = 256
"""Patterns whose ramps are computed at once."""
KEPT_BYTES = 2**28
"""Moved probes stay in memory, where they take no more than this, and neither probe nor positions change."""


def default_chunk(n_pixels: int, n_modes: int, device: torch.device) -> int:
    """Patterns to treat at once."""
    pixels = CACHE_PIXELS if device.type == "cpu" else GPU_PIXELS
    return max(1, pixels // (n_pixels**2 * n_modes))


@dataclass
class Gradients:
    """What a pass gathers; None leaves a part out.

    Attributes:
        object: complex (H, W).
        modes: complex (M, N, N), spectra as the forward model keeps them; see `Forward.mode_gradient`.
        positions: float64 (n, 2), pixel**-1; rows of patterns that the pass leaves out stay as they are.
        intensities: float64 (n,), best scale of each prediction.
        value: float64 scalar, the loss.
    """

    object: Tensor | None
    modes: Tensor | None
    positions: Tensor | None
    intensities: Tensor | None
    value: Tensor


def complex_of(real: torch.dtype) -> torch.dtype:
    """The complex dtype of two such reals: `dtype.to_complex()` of torch 2.2 loses references and crashes later."""
    return torch.promote_types(real, torch.complex32)


class _Buffers:
    """Arrays for one size of chunk, made once."""

    def __init__(
        self, n_modes: int, count: int, n_pixels: int, real: torch.dtype, device: torch.device
    ) -> None:
        def empty(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(*shape, n_pixels, n_pixels, dtype=dtype, device=device)

        complex_ = complex_of(real)
        self.patch = empty(count, dtype=complex_)
        self.probe = empty(n_modes, count, dtype=complex_)
        self.wave = empty(n_modes, count, dtype=complex_)
        self.one = empty(count, dtype=complex_)
        self.excess = empty(count, dtype=real)
        self.intensity = empty(count, dtype=real)
        self.pattern = empty(count, dtype=real)
        self.work = empty(count, dtype=real)


class _Chunk(NamedTuple):
    """Patterns that are treated at once."""

    ids: Ids
    corners: Tensor
    """int64 (k, 2), on the canvas."""
    rows: Tensor
    """complex (k, N, 1): what moves a spectrum along rows to each position, times the root of the intensity."""
    columns: Tensor
    """complex (k, 1, N): along columns."""
    moved: Tensor | None
    """complex (M, k, N, N), the moved probe where it is known already."""


class _Kept(NamedTuple):
    """Moved probes, and what they belong to: the very arrays, which nobody changes in place."""

    of: tuple[object, ...]
    moved: Tensor
    """complex (M, k, N, N)."""


class Forward:
    """A scan, the positions and intensities that are believed, and the probe of the moment.

    Args:
        patterns: the measured patterns.
        positions_px: float64 (n, 2), rows (y, x).
        frame: the canvas.
        n_modes: probe modes.
        device: where to compute.
        chunk: patterns at once; None by the machine.
        real: dtype of real arrays; float64 for tests of gradients.
        reduce: adds sums over processes, where several share the patterns.
    """

    def __init__(
        self,
        patterns: Patterns,
        positions_px: Tensor,
        frame: Frame,
        n_modes: int = 1,
        *,
        device: torch.device | str = "cpu",
        chunk: int | None = None,
        real: torch.dtype = torch.float32,
        reduce: Reduce | None = None,
    ) -> None:
        self.patterns = patterns
        self.n_pixels = patterns.n_pixels
        self.frame = frame
        self.n_modes = n_modes
        self.device = torch.device(device)
        self.real, self.complex = real, complex_of(real)
        self.chunk = chunk or default_chunk(self.n_pixels, n_modes, self.device)
        self._reduce = reduce
        self._buffers: dict[int, _Buffers] = {}
        frequency = torch.fft.fftshift(torch.fft.fftfreq(self.n_pixels, dtype=torch.float64))
        self._frequency_rad = (2 * torch.pi * frequency).to(self.device)
        self.positions_px = positions_px.to(self.device, torch.float64).clone()
        self.intensities = torch.ones(len(positions_px), dtype=torch.float64, device=self.device)
        self._origin = torch.tensor(frame.corner_px, device=self.device)
        self._spectra = self._modes = torch.zeros(0)
        self._kept: _Kept | None = None

    def set_probe(self, modes: Tensor) -> None:
        """Take the probe modes, complex (M, N, N)."""
        self._modes = modes
        spectra = torch.fft.fftshift(torch.fft.fft2(modes), dim=(-2, -1))
        self._spectra = (spectra / self.n_pixels**3).to(self.device, self.complex)[:, None]

    def on_canvas(self, positions_px: Tensor) -> Tensor:
        """The nearest positions whose patches lie on the canvas, float64 (k, 2)."""
        low = self._origin + self.n_pixels // 2
        room = torch.tensor(self.frame.shape, device=self.device) - self.n_pixels
        return torch.minimum(torch.maximum(positions_px, low), low + room)

    def mode_gradient(self, gathered: Tensor) -> Tensor:
        """-dL/dP* of the modes, complex (M, N, N), from what a pass gathered."""
        return torch.fft.ifft2(torch.fft.ifftshift(gathered, dim=(-2, -1))) / self.n_pixels

    def nothing(
        self, *, object: bool = True, modes: bool = False, positions: bool = False, intensities: bool = False
    ) -> Gradients:
        """Empty sums for a pass."""
        n_pixels, n = self.n_pixels, len(self.positions_px)

        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        return Gradients(
            object=zeros(*self.frame.shape, dtype=self.complex) if object else None,
            modes=zeros(self.n_modes, n_pixels, n_pixels, dtype=self.complex) if modes else None,
            positions=zeros(n, 2) if positions else None,
            intensities=zeros(n) if intensities else None,
            value=zeros(),
        )

    def accumulate(
        self, canvas: Tensor, ids: Ids, loss: Loss, dark: float, sums: Gradients, *, keep: bool = False
    ) -> None:
        """Add the loss of some patterns and its gradients to `sums`, summed over processes.

        Args:
            canvas: complex (H, W), the object.
            ids: which patterns, increasing.
            loss: what is to fall.
            dark: see `losses.dark_count`; for the Poisson loss.
            sums: what to gather; see `nothing`.
            keep: whether the same patterns come again with the same probe, positions and intensities, so that it pays
                to keep what is made of these.
        """
        n_bytes = self.n_modes * self.n_pixels**2 * self.complex.itemsize * len(ids)
        for part in self._chunks(ids, self._moved_probes(ids) if keep and n_bytes <= KEPT_BYTES else None):
            self._add_chunk(canvas, part, loss, dark, sums)
        if self._reduce is not None:
            for total in (sums.object, sums.modes, sums.value):
                if total is not None:
                    self._reduce(torch.view_as_real(total) if total.is_complex() else total)

    def value(self, canvas: Tensor, ids: Ids, loss: Loss, dark: float) -> float:
        """The loss of some patterns."""
        sums = self.nothing(object=False)
        self.accumulate(canvas, ids, loss, dark, sums)
        return float(sums.value)

    def illumination(self, ids: Ids) -> Tensor:
        """Sum over patterns of the moved probe's intensity, real (H, W), photons."""
        total = torch.zeros(self.frame.shape, dtype=self.real, device=self.device)
        for part in self._chunks(ids):
            buffers = self._buffers_for(len(part.ids))
            self._move_probe(part, buffers)
            torch.conj_physical(buffers.probe, out=buffers.wave)
            density = buffers.wave.mul_(buffers.probe).sum(dim=0).real.mul(self.n_pixels**2)
            add(total, part.corners, density.contiguous())
        if self._reduce is not None:
            self._reduce(total)
        return total

    def brightness(self, canvas: Tensor, ids: Ids, every: int = BRIGHT_EVERY) -> Tensor:
        """Sum over patterns of the patch's intensity, real (N, N), estimated from every few of them."""
        total = torch.zeros(self.n_pixels, self.n_pixels, dtype=self.real, device=self.device)
        square = canvas.abs().square_()
        some = ids[::every]
        for part in self._chunks(some):
            total += cut(square, part.corners, self._buffers_for(len(part.ids)).work).sum(dim=0)
        counts = torch.tensor([len(ids), len(some)], dtype=torch.float64, device=self.device)
        if self._reduce is not None:
            self._reduce(total)
            self._reduce(counts)
        return total * float(counts[0] / counts[1].clamp_min(1))

    def stiffness(self, canvas: Tensor, ids: Ids, every: int = BRIGHT_EVERY) -> Tensor:
        """Mean square slope of the amplitudes on the detector, relative to their power: float64 (2,), pixel**2.

        Along rows and columns, in canvas pixels per radian; of predictions for every few patterns. See `long_waves`.
        """
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for _, amplitude in self.predicted_amplitude(canvas, ids[::every]):
            for place, one in enumerate((amplitude.diff(dim=1), amplitude.diff(dim=2), amplitude)):
                sums[place] += one.square().sum()
        if self._reduce is not None:
            self._reduce(sums)
        return sums[:2] / sums[2] * (self.n_pixels / (2 * torch.pi)) ** 2

    def position_curvature(self, canvas: Tensor, ids: Ids) -> Tensor:
        """Gauss-Newton curvature of the amplitude loss in each position, halved: float64 (n, 2, 2), pixel**-2.

        The best step of a position alone is the inverse of it times the position gradient.
        """
        curvature = torch.zeros(len(self.positions_px), 2, 2, dtype=torch.float64, device=self.device)
        slope = torch.complex(torch.zeros_like(self._frequency_rad), -self._frequency_rad).to(self.complex)
        for part in self._chunks(ids):
            buffers = self._buffers_for(len(part.ids))
            far = self._predict(canvas, part, buffers, DARK)
            moved = self._spectra * part.rows * part.columns
            rates: list[Tensor] = []
            for axis in (slope[:, None], slope[None, :]):
                waves = torch.fft.ifft2(moved * axis, norm="forward").mul_(buffers.patch)
                rate = (far.conj() * torch.fft.fft2(waves)).real.sum(dim=0) * buffers.intensity.rsqrt()
                measured = self.patterns.measured(part.ids, rate)
                rates.append(rate if measured is None else rate * measured)
            both = torch.stack(rates, dim=1).flatten(2)
            curvature[part.ids] = (both @ both.mT).double()
        return curvature

    def predicted_amplitude(self, canvas: Tensor, ids: Ids) -> Iterator[tuple[Ids, Tensor]]:
        """Predictions chunk by chunk: which patterns, and real (k, N, N), photon**0.5, stored order; overwritten."""
        for part in self._chunks(ids):
            buffers = self._buffers_for(len(part.ids))
            self._predict(canvas, part, buffers, 0.0)
            yield part.ids, buffers.intensity.sqrt_()

    def _moved_probes(self, ids: Ids) -> Tensor:
        """The moved probes of some patterns, as long as these stay the same."""
        of = ids, self._modes, self.positions_px, self.intensities
        if self._kept is None or any(one is not other for one, other in zip(self._kept.of, of, strict=True)):
            shape = (self.n_modes, len(ids), self.n_pixels, self.n_pixels)
            self._kept = _Kept(of, torch.empty(shape, dtype=self.complex, device=self.device))
            for number, part in enumerate(self._chunks(ids)):
                buffers = self._buffers_for(len(part.ids))
                self._move_probe(part, buffers)
                first = number * self.chunk
                self._kept.moved[:, first : first + len(part.ids)] = buffers.probe
        return self._kept.moved

    def _chunks(self, ids: Ids, moved: Tensor | None = None) -> Iterator[_Chunk]:
        """Patterns in chunks; what is small is computed for many at once."""
        block = self.chunk * max(1, BLOCK // self.chunk)
        for first in range(0, len(ids), block):
            some = ids[first : first + block]
            positions = self.positions_px[some]
            corners = corners_of(positions, self.n_pixels) - self._origin
            turns = (torch.round(positions) - positions)[:, :, None] * self._frequency_rad
            size = torch.ones_like(turns)
            size[:, 0] = self.intensities[some, None].sqrt()
            ramps = torch.polar(size, turns).to(self.complex)
            for start in range(0, len(some), self.chunk):
                part, here = (
                    slice(start, start + self.chunk),
                    slice(first + start, first + start + self.chunk),
                )
                known = None if moved is None else moved[:, here]
                yield _Chunk(
                    some[part], corners[part], ramps[part, 0, :, None], ramps[part, 1, None, :], known
                )

    def _buffers_for(self, count: int) -> _Buffers:
        if count not in self._buffers:
            self._buffers[count] = _Buffers(self.n_modes, count, self.n_pixels, self.real, self.device)
        return self._buffers[count]

    def _move_probe(self, chunk: _Chunk, buffers: _Buffers) -> None:
        if chunk.moved is not None:
            buffers.probe = chunk.moved
            return
        torch.mul(self._spectra, chunk.rows, out=buffers.wave)
        buffers.wave.mul_(chunk.columns)
        buffers.probe = torch.fft.ifft2(buffers.wave, norm="forward")

    def _predict(self, canvas: Tensor, chunk: _Chunk, buffers: _Buffers, dark: float) -> Tensor:
        """Fill patch, moved probe and intensity of a chunk; give the far field."""
        buffers.patch = cut(canvas, chunk.corners, buffers.patch)
        self._move_probe(chunk, buffers)
        torch.mul(buffers.probe, buffers.patch, out=buffers.wave)
        far = torch.fft.fft2(buffers.wave)
        torch.conj_physical(far, out=buffers.wave)
        buffers.wave.mul_(far)
        density = buffers.wave[0] if self.n_modes == 1 else torch.sum(buffers.wave, 0, out=buffers.one)
        torch.add(density.real, dark, out=buffers.intensity)
        return far

    def _add_chunk(self, canvas: Tensor, chunk: _Chunk, loss: Loss, dark: float, sums: Gradients) -> None:
        part, buffers = chunk.ids, self._buffers_for(len(chunk.ids))
        far = self._predict(canvas, chunk, buffers, DARK if loss == "amplitude" else dark)
        measured = self.patterns.measured(part, buffers.work)
        if loss == "amplitude":
            pattern = self.patterns.read(part, "amplitude", buffers.pattern)
            sums.value += amplitude_excess(buffers.intensity, pattern, measured, buffers.work, buffers.excess)
            if sums.intensities is not None:
                seen = (
                    buffers.intensity.square() if measured is None else buffers.intensity.square() * measured
                )
                change = (buffers.work * buffers.intensity).sum(dim=(-2, -1)) / seen.sum(dim=(-2, -1))
                sums.intensities[part] = (1 + change).square().double()
        else:
            pattern = self.patterns.read(part, "intensity", buffers.pattern).add_(dark)
            sums.value += poisson_excess(buffers.intensity, pattern, measured, buffers.work, buffers.excess)
            if sums.intensities is not None:
                counted = pattern if measured is None else pattern * measured
                more, counted = (one.sum(dim=(-2, -1)) for one in (buffers.intensity, counted))
                sums.intensities[part] = (counted / (counted - more)).double()
        if sums.object is None:
            return
        change = torch.fft.ifft2(far.mul_(buffers.excess), norm="forward")
        if sums.modes is not None or sums.positions is not None:
            self._add_to_probe(change, chunk, buffers, sums)
        change.mul_(torch.conj_physical(buffers.probe, out=buffers.wave))
        whole = change[0] if self.n_modes == 1 else torch.sum(change, 0, out=buffers.one)
        add(sums.object, chunk.corners, whole)

    def _add_to_probe(self, change: Tensor, chunk: _Chunk, buffers: _Buffers, sums: Gradients) -> None:
        torch.conj_physical(buffers.patch, out=buffers.one)
        torch.mul(change, buffers.one, out=buffers.wave)
        cross = torch.fft.fft2(buffers.wave)
        cross.mul_(chunk.rows.conj()).mul_(chunk.columns.conj())
        if sums.modes is not None:
            sums.modes += cross.sum(dim=1)
        if sums.positions is not None:
            cross.mul_(self._spectra.conj())
            along = torch.stack([cross.sum(dim=-1).sum(dim=0), cross.sum(dim=-2).sum(dim=0)], dim=1)
            sums.positions[chunk.ids] -= along.imag.double() @ self._frequency_rad

"""How a picture comes out: run the network over a whole scan and reassemble the object on one canvas.

Registration: pixel (r, c) of a reconstruction shows the object at pixel (r, c) + ``corner_px`` of the coordinate
system the scan positions are given in. Every pass of the network goes over the scan once: patches are cut out of the
canvas of the pass before, improved, and averaged with their illumination as weight. Memory beyond the patterns is
a few canvases, one batch, and what is kept from pass to pass (`KEPT_BYTES`).
"""

import itertools
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import RawData
from ptycho_torch import physics
from ptycho_torch.config_params import InferenceConfig, ModelConfig
from ptycho_torch.data.groups import GroupDataset, Indices, batches, intensities_of
from ptycho_torch.forward_model import Batch, PtychoPINN, outer_band
from ptycho_torch.networks.patterns import Estimate, Patterns
from ptycho_torch.patches import add, corners_of, cut, frame_of
from ptycho_torch.runtime import loader_arguments, working_dtype

KEPT_BYTES = 2**29
"""Displaced probes, amplitudes and weights of the first patterns stay in memory, up to this; those of the others are
made anew in every pass."""
WINDOW_MARGIN = 8
"""Fewest pixels that trimming the border of a canvas may leave on each axis."""


@dataclass(frozen=True)
class Reconstruction:
    """An assembled object.

    Attributes:
        object: complex64 (H, W), transmission, trimmed by ``reconstruction_window``.
        canvas: complex64, the same before trimming; free space (1) where no patch reaches.
        coverage: float32, shape of canvas, summed weight of the patches.
        probe: complex64 (modes, N, N) used, photon**0.5.
        corner_px: row and column of ``object[0, 0]`` in the pixels of the scan positions.
        canvas_corner_px: the same for ``canvas[0, 0]``.
        n_patterns: patterns that entered.
        seconds: wall time.
    """

    object: NDArray[np.complex64]
    canvas: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    probe: NDArray[np.complex64]
    corner_px: tuple[int, int]
    canvas_corner_px: tuple[int, int]
    n_patterns: int
    seconds: float


class Canvas:
    """The object of a whole scan under reassembly; numerator and weight are kept apart until the pass is done."""

    def __init__(self, positions_px: NDArray[np.float64], n_pixels: int, device: torch.device) -> None:
        self.corner_px, self.shape = frame_of(torch.tensor(positions_px), n_pixels)
        self.n_pixels = n_pixels
        self._origin = torch.tensor(self.corner_px, device=device)
        self._total = torch.zeros(self.shape, dtype=torch.complex64, device=device)
        self._weight = torch.zeros(self.shape, device=device)
        self.object = torch.ones_like(self._total)
        self.coverage: Tensor | None = None

    def patches(self, corner: Tensor) -> Tensor:
        """The current object at patches, free space before the first pass: corner int64 (M, 2), complex (M, N, N)."""
        out = self.object.new_empty(len(corner), self.n_pixels, self.n_pixels)
        return cut(self.object, corner - self._origin, out)

    def add(self, patch: Tensor, weight: Tensor, corner: Tensor) -> None:
        """Add weighted patches (M, n, n) to the pass under way, in place of the patches.

        Every pass has the weights of the first.
        """
        where, weight = corner - self._origin, weight.float()
        add(self._total, where, patch.to(torch.complex64).mul_(weight))
        if self.coverage is None:
            add(self._weight, where, weight)

    def finish_pass(self, fabric: Fabric) -> None:
        """Average what every process added, and make it the current object."""
        if self.coverage is None:
            self.coverage = fabric.all_reduce(self._weight, reduce_op="sum")
        total = torch.view_as_complex(fabric.all_reduce(torch.view_as_real(self._total), reduce_op="sum"))
        reached = self.coverage > 0
        self.object = torch.where(reached, total / torch.where(reached, self.coverage, 1), 1)
        self._total.zero_()

    def result(self) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Object and coverage of the last finished pass."""
        if self.coverage is None:
            raise RuntimeError("Canvas: expected a finished pass before its result is used.")
        return self.object.cpu().numpy(), self.coverage.cpu().numpy()


def kept_square(n_pixels: int, model: ModelConfig, inference: InferenceConfig) -> slice:
    """Rows, and columns, of a patch that enter the reassembly.

    ``middle_trim`` keeps the central square; without ``pad_eval`` the band outside the network's field of view is
    left out.

    Raises:
        ConfigError: ``middle_trim`` is larger than the patch.
    """
    if inference.middle_trim > n_pixels:
        rule = f"middle_trim: expected at most N, which is {n_pixels}; got {inference.middle_trim}"
        raise ConfigError([Failure("middle_trim", f"{rule}. Lower it, or set 0 for the whole patch.")])
    side = inference.middle_trim or n_pixels
    if not inference.pad_eval:
        side = min(side, n_pixels - 2 * outer_band(model, n_pixels))
    start = (n_pixels - side) // 2
    return slice(start, start + side)


def reconstruct(
    model: PtychoPINN,
    model_config: ModelConfig,
    scan: RawData,
    indices: Indices,
    *,
    inference: InferenceConfig,
    execution: PyTorchExecutionConfig,
    fabric: Fabric,
) -> Reconstruction:
    """Reconstruct the object of one scan; the processes of the fabric share the patterns.

    Args:
        model: a trained model whose probe 0 is that of the scan.
        model_config: how it was built.
        scan: the patterns and positions.
        indices: int64, patterns to use.
        inference: patterns predicted at once, trimming, weighting of the patches.
        execution: number format and loader.
        fabric: the devices, from `runtime.build_fabric`.

    Returns:
        The assembled object with its registration, in every process.
    """
    started_s = time.perf_counter()
    dtype = working_dtype(execution)
    model = model.to(fabric.device, dtype).eval()
    canvas = Canvas(scan.positions_px, model.n_pixels, fabric.device)
    inner = kept_square(model.n_pixels, model_config, inference)
    share = indices[fabric.global_rank :: fabric.world_size]
    by_canvas = model_config.object_big
    n_passes = model.network.n_passes
    n_kept = _n_kept(scan, inference.batch_size, dtype) if by_canvas and n_passes > 1 else 0
    kept, others = (
        fabric.setup_dataloaders(
            pattern_loader(scan, part, inference.batch_size, execution), use_distributed_sampler=False
        )
        if len(part)
        else ()  # loading processes without work
        for part in (share[:n_kept], share[n_kept:])
    )
    prepare = partial(_prepared, model, dtype, uniform=inference.patch_weighting == "uniform")
    with torch.inference_mode(), fabric.autocast():
        ready = [prepare(batch) for batch in kept]
        for number in range(n_passes if by_canvas else 1):
            passes = [number] if by_canvas else range(n_passes)
            for corner, patterns in itertools.chain(ready, map(prepare, others)):
                patch = canvas.patches(corner)
                for k in passes:
                    patch = model.step(k, Estimate(patch, patterns.probe), patterns)
                canvas.add(patch[:, inner, inner], patterns.weight[:, inner, inner], corner + inner.start)
            canvas.finish_pass(fabric)
    return _finished(canvas, model, inference.window, len(indices), started_s)


def _n_kept(scan: RawData, batch_size: int, dtype: torch.dtype) -> int:
    """How many patterns, in whole batches, may stay in memory: amplitude, weight and complex modes of each pixel."""
    n_modes, n_pixels = scan.probe.shape[:2]
    n_bytes = dtype.itemsize * n_pixels**2 * (2 + 2 * n_modes)
    return KEPT_BYTES // n_bytes // batch_size * batch_size


def _prepared(
    model: PtychoPINN, dtype: torch.dtype, batch: Batch, *, uniform: bool
) -> tuple[Tensor, Patterns]:
    """Corners int64 (M, 2) and patterns of a batch, with the weights that patches enter the canvas with."""
    values = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
    patterns = model.patterns(values)
    if uniform:
        patterns = patterns._replace(weight=torch.ones_like(patterns.weight))
    return batch["corner"].flatten(0, 1), patterns


def pattern_loader(
    scan: RawData, indices: Indices, batch_size: int, execution: PyTorchExecutionConfig
) -> DataLoader[dict[str, Tensor]]:
    """Single patterns of a scan in order: batches with groups of one."""
    dataset = GroupDataset([scan], [indices[:, None]])
    return batches(dataset, **loader_arguments(execution, training=False, batch_size=batch_size))


def _finished(
    canvas: Canvas, model: PtychoPINN, window_px: int, n_patterns: int, started_s: float
) -> Reconstruction:
    assembled, coverage = canvas.result()
    border = border_of(canvas.shape, window_px)
    row, column = canvas.corner_px
    inner = slice(border, -border or None)
    return Reconstruction(
        object=np.ascontiguousarray(assembled[inner, inner]),
        canvas=assembled,
        coverage=coverage,
        probe=model.probes()[0].cpu().numpy(),
        corner_px=(row + border, column + border),
        canvas_corner_px=(row, column),
        n_patterns=n_patterns,
        seconds=time.perf_counter() - started_s,
    )


def border_of(shape: tuple[int, ...], window_px: int) -> int:
    """Pixels to trim from each border of a canvas: as asked for, as long as some are left."""
    return min(window_px, max(0, (min(shape) - WINDOW_MARGIN) // 2))


def predicted_amplitude(
    reconstruction: Reconstruction, scan: RawData, indices: Indices
) -> NDArray[np.float32]:
    """Amplitudes that a reconstruction predicts for chosen patterns: float32 (k, N, N), photon**0.5."""
    n_pixels = scan.patterns.shape[-1]
    positions = torch.from_numpy(scan.positions_px[indices])
    corners = corners_of(positions, n_pixels) - torch.tensor(reconstruction.canvas_corner_px)
    canvas = torch.from_numpy(reconstruction.canvas)
    patch = cut(canvas, corners, canvas.new_empty(len(corners), n_pixels, n_pixels))
    remainder = (positions - torch.round(positions)).float()
    probe = physics.fourier_shift(torch.from_numpy(reconstruction.probe)[None], remainder[:, None])
    waves = physics.far_field(physics.exit_waves(patch, probe))
    predicted = physics.zero_centred(physics.intensity(waves).sqrt()).numpy()
    return predicted * np.sqrt(intensities_of(scan, indices))[:, None, None]

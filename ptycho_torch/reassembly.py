"""How a picture comes out: run the network over a whole scan and reassemble the object on one canvas.

Registration: pixel (r, c) of a reconstruction shows the object at pixel (r, c) + ``corner_px`` of the coordinate
system the scan positions are given in. Every pass of the network goes over the scan once: patches are cut out of the
canvas of the pass before, improved, and averaged with their illumination as weight. Memory beyond the patterns is
a few canvases and one batch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

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
from ptycho_torch.data.groups import GroupDataset, Indices, batches
from ptycho_torch.forward_model import Batch, PtychoPINN, outer_band
from ptycho_torch.patches import extract, flat_indices, place
from ptycho_torch.runtime import loader_arguments, working_dtype

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
        corners = np.round(positions_px).astype(np.int64) - n_pixels // 2
        self.corner_px = corners.min(axis=0)
        height, width = corners.max(axis=0) - self.corner_px + n_pixels
        self.shape = (int(height), int(width))
        self.n_pixels = n_pixels
        self._origin = torch.from_numpy(self.corner_px).to(device)
        self.object: Tensor | None = None
        self.coverage = torch.zeros(1, *self.shape, device=device)
        self._total = torch.zeros(1, *self.shape, dtype=torch.complex64, device=device)

    def indices(self, batch: Batch) -> Tensor:
        """Where the patches of a batch lie: int64 (1, M, N, N) into the flattened canvas."""
        corners = (batch["corner"].flatten(0, 1) - self._origin)[None]
        return flat_indices(corners, (self.n_pixels, self.n_pixels), self.shape)

    def patches(self, indices: Tensor) -> Tensor | None:
        """The current object at each patch, complex (M, N, N); None before the first pass."""
        return None if self.object is None else extract(self.object, indices)[0]

    def add(self, patch: Tensor, weight: Tensor, indices: Tensor) -> None:
        """Add weighted patches (M, N, N) to the pass under way."""
        patch, weight = patch.to(torch.complex64), weight.float()
        self._total += place((patch * weight)[None], indices, self.shape)
        self.coverage += place(weight[None], indices, self.shape)

    def finish_pass(self, fabric: Fabric) -> None:
        """Average what every process added, and make it the current object."""
        total = torch.view_as_complex(fabric.all_reduce(torch.view_as_real(self._total), reduce_op="sum"))
        coverage = fabric.all_reduce(self.coverage, reduce_op="sum")
        reached = coverage > 0
        average = total / torch.where(reached, coverage, torch.ones_like(coverage))
        self.object = torch.where(reached, average, torch.ones_like(average))
        self._finished_coverage = coverage
        self.coverage = torch.zeros_like(coverage)
        self._total = torch.zeros_like(total)

    def result(self) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Object and coverage of the last finished pass."""
        if self.object is None:
            raise RuntimeError("Canvas: expected a finished pass before its result is asked for.")
        return self.object[0].cpu().numpy(), self._finished_coverage[0].cpu().numpy()


def trimmed(n_pixels: int, model: ModelConfig, inference: InferenceConfig) -> NDArray[np.float32]:
    """Which pixels of a patch enter the reassembly: float32 (N, N) of zeros and ones.

    ``middle_trim`` keeps the central square; without ``pad_eval`` the band outside the network's field of view is
    left out.

    Raises:
        ConfigError: ``middle_trim`` is larger than the patch.
    """
    if inference.middle_trim > n_pixels:
        rule = f"middle_trim: expected at most N, which is {n_pixels}; got {inference.middle_trim}"
        raise ConfigError([Failure("middle_trim", f"{rule}. Lower it, or set 0 for the whole patch.")])
    kept = np.zeros((n_pixels, n_pixels), dtype=np.float32)
    side = inference.middle_trim or n_pixels
    if not inference.pad_eval:
        band = outer_band(model, n_pixels)
        side = min(side, n_pixels - 2 * band)
    start = (n_pixels - side) // 2
    kept[start : start + side, start : start + side] = 1
    return kept


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
    kept = torch.from_numpy(trimmed(model.n_pixels, model_config, inference)).to(fabric.device)
    share = indices[fabric.global_rank :: fabric.world_size]
    loader = pattern_loader(scan, share, inference.batch_size, execution)
    loader = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
    by_canvas = model_config.object_big
    n_passes = model.network.n_passes
    for number in range(n_passes if by_canvas else 1):
        passes = [number] if by_canvas else list(range(n_passes))
        for batch in loader:
            with torch.inference_mode(), fabric.autocast():
                batch = {
                    name: value.to(dtype) if value.is_floating_point() else value
                    for name, value in batch.items()
                }
                _add_batch(model, canvas, batch, passes, kept, inference.patch_weighting == "uniform")
        canvas.finish_pass(fabric)
    return _finished(canvas, model, inference.window, len(indices), started_s)


def pattern_loader(
    scan: RawData, indices: Indices, batch_size: int, execution: PyTorchExecutionConfig
) -> DataLoader[dict[str, Tensor]]:
    """Single patterns of a scan in order: batches with groups of one."""
    dataset = GroupDataset([scan], [indices[:, None]])
    return batches(dataset, **loader_arguments(execution, training=False, batch_size=batch_size))


def _add_batch(
    model: PtychoPINN, canvas: Canvas, batch: Batch, passes: Sequence[int], kept: Tensor, uniform: bool
) -> None:
    patterns = model.patterns(batch)
    where = canvas.indices(batch)
    patch = canvas.patches(where)
    if patch is None:
        patch = torch.ones_like(patterns.probe[:, 0])
    for k in passes:
        patch = model.step(k, patch, patterns)
    weight = torch.ones_like(patterns.weight) if uniform else patterns.weight
    canvas.add(patch, weight * kept, where)


def _finished(
    canvas: Canvas, model: PtychoPINN, window_px: int, n_patterns: int, started_s: float
) -> Reconstruction:
    assembled, coverage = canvas.result()
    most = max(0, (min(canvas.shape) - WINDOW_MARGIN) // 2)
    border = min(window_px, most)
    row, column = (int(value) for value in canvas.corner_px)
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


def predicted_amplitude(
    reconstruction: Reconstruction, scan: RawData, indices: Indices
) -> NDArray[np.float32]:
    """Amplitudes that a reconstruction predicts for chosen patterns: float32 (k, N, N), photon**0.5."""
    n_pixels = scan.patterns.shape[-1]
    positions = scan.positions_px[indices]
    rounded = np.round(positions).astype(np.int64)
    corners = rounded - n_pixels // 2 - np.array(reconstruction.canvas_corner_px)
    shape = reconstruction.canvas.shape
    where = flat_indices(torch.from_numpy(corners)[None], (n_pixels, n_pixels), (shape[0], shape[1]))
    patch = extract(torch.from_numpy(reconstruction.canvas)[None], where)[0]
    remainder = torch.from_numpy((positions - rounded).astype(np.float32))
    probe = physics.fourier_shift(torch.from_numpy(reconstruction.probe)[None], remainder[:, None])
    waves = physics.far_field(physics.exit_waves(patch, probe))
    return physics.zero_centred(physics.intensity(waves).sqrt()).numpy()

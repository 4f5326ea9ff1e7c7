"""The object as a model under training gives it: the middle of the scan, with a bounded number of patterns."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from lightning.fabric import Fabric
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray

from ptycho.atomic import atomic_write
from ptycho.raw_data import DataError, RawData
from ptycho.run_files import PREVIEW
from ptycho_torch.data.groups import Indices
from ptycho_torch.data.module import ScanDataModule, usable_patterns
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.reassembly import Reconstruction, predicted_amplitude, reconstruct
from ptycho_torch.runs import metrics
from ptycho_torch.runs.figures import Placed, save_reconstruction
from ptycho_torch.runs.judging import in_blocks, measured_by
from ptycho_torch.runs.product import Product, product_of
from ptycho_torch.runs.report.evidence import evidence
from ptycho_torch.runtime import require_accelerator

PREVIEWED: Final = 256
"""Patterns of a preview at most: those nearest to the middle of the scan."""
PIXELS: Final = 3 * 2**17
"""Pixels of all patterns of a preview, which bound its time: 96 patterns of 64 x 64."""
JUDGED: Final = 32
"""Patterns of a preview at least; the R factor is that of so many, those nearest to the middle."""


class Preview(NamedTuple):
    """What a model under training makes of the middle of a scan."""

    product: Product
    r_factor: float
    """Of patterns in the middle of it."""
    pair: metrics.Comparison | None
    """The object beside the known one; None if it is not known, or has too few pixels there."""
    patterns: dict[str, NDArray[Any]]
    """Worst and typical patterns among those in the middle, see `evidence`."""

    def placed(self, title: str) -> Placed:
        """Title and place of the object, for a picture."""
        return Placed(f"{title}, R factor {self.r_factor:.4f}", self.product.corner_px, self.product.pixel_m)


def preview_of(module: PtychoPINN_Lightning, data: ScanDataModule) -> Preview:
    """Reconstruct the middle of the first scan of a training with the weights as they are, which stay so.

    Args:
        module: under training, in one process.
        data: what it is trained on.
    """
    scan = data.scans[0]
    execution = module.execution_config.replace(num_workers=0, persistent_workers=False, prefetch_factor=None)
    indices = middle(scan, max(JUDGED, min(PREVIEWED, PIXELS // scan.patterns.shape[-1] ** 2)))
    with isolate_rng():
        found = reconstruct(
            copy.deepcopy(module.model),
            module.model_config,
            scan,
            indices,
            inference=module.inference_config,
            execution=execution,
            fabric=Fabric(
                accelerator=require_accelerator(execution), devices=1, precision=execution.precision
            ),
        )
    judged = middle(scan, JUDGED)
    r_factor = metrics.agreement(lambda: _blocks(found, scan, judged))["r_factor"]
    patterns = evidence(scan, lambda some: _blocks(found, scan, some), scan.positions_px, judged)
    return Preview(product_of(found, scan), r_factor, _beside_known(found, scan), patterns)


def save_preview(run_dir: Path, preview: Preview, title: str) -> None:
    """Write preview.png and preview.npz, whose arrays are called as those of reconstruction.npz.

    Args:
        run_dir: folder of the training.
        preview: what they show.
        title: above the picture.
    """
    picture, arrays = (run_dir / name for name in PREVIEW)
    product = preview.product
    save_reconstruction(picture, product.object, product.probe, product.coverage, preview.placed(title))
    with atomic_write(arrays) as file:
        np.savez_compressed(file, allow_pickle=False, **preview.patterns | product.arrays())


def _beside_known(found: Reconstruction, scan: RawData) -> metrics.Comparison | None:
    if scan.object_truth is None:
        return None
    with suppress(DataError):
        return metrics.compare(found.canvas, scan.object_truth, found.canvas_corner_px, found.coverage)
    return None


def middle(scan: RawData, n: int) -> Indices:
    """The patterns nearest to the middle of a scan, in their order."""
    usable = usable_patterns(scan)
    where = scan.positions_px[usable]
    middle = (where.min(axis=0) + where.max(axis=0)) / 2
    nearest = np.argsort(np.square(where - middle).sum(axis=1), kind="stable")[:n]
    return np.sort(usable[nearest])


def _blocks(found: Reconstruction, scan: RawData, indices: Indices) -> Iterator[metrics.Block]:
    for block in in_blocks(indices):
        yield metrics.Block(predicted_amplitude(found, scan, block), *measured_by(scan, block))

"""The knobs of a reconstruction, seen in the picture it writes."""

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor
from torch.nn.modules import module as torch_modules

from ptycho_torch.networks.unet import UNet
from tests.evidence.observed import reconstructed, run
from tests.legacy_dictionary import legacy_dictionary_restored


@pytest.fixture(scope="module")
def run_dir(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with legacy_dictionary_restored():
        run(tiny_file, folder, learning_rate=0.01)
    return folder


@pytest.mark.proves("inference_batch_size", seen="the network gets so many patterns at once")
def test_batches_have_the_size_asked_for(run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def note(part: object, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(part, UNet):
            sizes.append(len(inputs[0]))

    handle = torch_modules.register_module_forward_pre_hook(note)
    try:
        found = reconstructed(run_dir, tiny_file, tmp_path, inference_batch_size=15)
    finally:
        handle.remove()
    n_patterns = found.reconstruction.n_patterns
    assert sizes == [15, 15, n_patterns - 30]


def reached(run_dir: Path, file: Path, folder: Path, **knobs: object) -> int:
    """Pixels of the canvas that any patch reaches."""
    found = reconstructed(run_dir, file, folder, **knobs)
    return int(np.count_nonzero(found.reconstruction.coverage))


@pytest.mark.proves("middle_trim", seen="only the central square of a patch reaches the canvas")
def test_a_patch_is_trimmed_to_its_middle(run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    found = reconstructed(run_dir, tiny_file, tmp_path, middle_trim=4, pad_eval=True)
    scan, result = found.scan, found.reconstruction
    expected = np.zeros(result.canvas.shape, dtype=bool)
    used = np.arange(len(scan)) if scan.holdout is None else np.flatnonzero(~scan.holdout)
    for row, column in np.round(scan.positions_px[used]).astype(int) - np.array(result.canvas_corner_px):
        expected[row - 2 : row + 2, column - 2 : column + 2] = True
    np.testing.assert_array_equal(result.coverage > 0, expected)


@pytest.mark.proves("pad_eval", seen="the outer band of the patches reaches the canvas as well")
def test_the_outer_band_is_kept(run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    kept, left_out = (
        reconstructed(run_dir, tiny_file, tmp_path / str(pad), pad_eval=pad).reconstruction.coverage > 0
        for pad in (True, False)
    )
    rows, columns = np.nonzero(left_out)
    inner = kept[2:-2, 2:-2]
    assert kept[:2].any()
    assert (rows.min(), columns.min()) == (2, 2)
    np.testing.assert_array_equal(left_out.shape, np.array(inner.shape) + 4)


@pytest.mark.proves(
    "reconstruction_window", seen="so many pixels are trimmed from every border of the picture"
)
def test_the_border_is_trimmed(run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    found = reconstructed(run_dir, tiny_file, tmp_path, reconstruction_window=7).reconstruction
    np.testing.assert_array_equal(found.object, found.canvas[7:-7, 7:-7])
    assert found.corner_px == tuple(corner + 7 for corner in found.canvas_corner_px)

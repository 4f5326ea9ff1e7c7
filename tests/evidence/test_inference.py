"""The knobs of a reconstruction, seen in the picture it writes."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.modules import module as torch_modules
from torch.utils.data import DataLoader

from ptycho_torch.networks.unet import UNet
from tests.evidence.observed import children, reconstructed, run
from tests.legacy_dictionary import legacy_dictionary_restored

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def run_dir(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with legacy_dictionary_restored():
        run(tiny_file, folder, learning_rate=0.01)
    return folder


@pytest.fixture(scope="module")
def two_passes(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that goes over the scan twice."""
    folder = tmp_path_factory.mktemp("trained")
    with legacy_dictionary_restored():
        run(tiny_file, folder, n_unrolled_steps=2, nepochs=1)
    return folder


@contextlib.contextmanager
def watched(kind: type, note: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Note what every part of a kind gets and gives meanwhile."""

    def hook(part: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(part, kind):
            note(inputs[0], output)

    handle = torch_modules.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.proves("inference_batch_size", seen="the network gets so many patterns at once")
def test_batches_have_the_size_asked_for(run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    sizes: list[int] = []
    with watched(UNet, lambda given, _: sizes.append(len(given))):
        found = reconstructed(run_dir, tiny_file, tmp_path, inference_batch_size=15)
    n_patterns = found.reconstruction.n_patterns
    assert sizes == [15, 15, n_patterns - 30]


FORMATS = {"32-true": torch.float32, "64-true": torch.float64, "bf16-mixed": torch.bfloat16}


@pytest.mark.proves("precision", seen="a reconstruction computes in the number format named")
@pytest.mark.parametrize("precision", FORMATS)
def test_precision_is_the_number_format(
    precision: str, run_dir: Path, tiny_file: Path, tmp_path: Path
) -> None:
    formats: set[torch.dtype] = set()
    with watched(torch.nn.Conv2d, lambda _, product: formats.add(product.dtype)):
        reconstructed(run_dir, tiny_file, tmp_path, precision=precision)
    assert formats == {FORMATS[precision]}


def loading(run_dir: Path, file: Path, folder: Path, **knobs: object) -> list[set[int | None]]:
    """The processes that load while the network runs, for every batch."""
    found: list[set[int | None]] = []
    with watched(UNet, lambda *_: found.append(children())):
        reconstructed(run_dir, file, folder, inference_batch_size=40, **knobs)
    return found


@pytest.mark.proves("num_workers", seen="so many processes load for a reconstruction")
@pytest.mark.parametrize("n", [0, 2])
def test_workers_are_processes(n: int, run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    found = loading(run_dir, tiny_file, tmp_path, num_workers=n)
    assert [len(processes) for processes in found] == [n]


@pytest.mark.proves("persistent_workers", seen="the same processes serve every pass of a reconstruction")
@pytest.mark.parametrize(("persistent", "n"), [(True, 1), (False, 2)])
def test_workers_stay_where_asked_for(
    persistent: bool,
    n: int,
    two_passes: Path,
    tiny_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "ptycho_torch.reassembly.KEPT_BYTES", 0
    )  # as for a scan that is read again in every pass
    found = loading(two_passes, tiny_file, tmp_path, num_workers=1, persistent_workers=persistent)
    assert len(found) == 2
    assert len(set.union(*found)) == n


@pytest.mark.proves("prefetch_factor", "pin_memory", seen="the loader of a reconstruction gets it")
@pytest.mark.filterwarnings("ignore:pin_memory:UserWarning")
def test_the_loader_gets_its_settings(run_dir: Path, tiny_file: Path, tmp_path: Path) -> None:
    found: list[tuple[int | None, bool]] = []

    def note(*_: Tensor) -> None:
        gc.collect()
        loaders = [one for one in gc.get_objects() if type(one) is DataLoader]
        found.extend((loader.prefetch_factor, loader.pin_memory) for loader in loaders)

    knobs = {"num_workers": 1, "prefetch_factor": 5, "pin_memory": True}
    with watched(UNet, note):
        reconstructed(run_dir, tiny_file, tmp_path, inference_batch_size=40, **knobs)
    assert set(found) == {(5, True)}


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

"""Pictures of a run."""

import tracemalloc
from pathlib import Path

import numpy as np

from ptycho_torch.runs.figures import save_reconstruction


def test_a_picture_takes_less_memory_than_a_large_object(tmp_path: Path) -> None:
    image = np.ones((4200, 4200), np.complex64)
    image[1000:2000] = 2j
    tracemalloc.start()
    save_reconstruction(tmp_path / "picture.png", image, np.ones((1, 8, 8), np.complex64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * image.nbytes

"""Raw files whose dtype, masks, axes or positions are not what the settings expect at first."""

from pathlib import Path

import numpy as np
import pytest

from tests.core.foreign_files import ALL, counts, read, standard
from tests.core.test_formats import cut

# Sums of pixels


@pytest.mark.parametrize("dtype", ["float16", ">f2", "float32", "float64"])
def test_counts_of_any_float_are_added_up_in_what_holds_their_sum(tmp_path: Path, dtype: str) -> None:
    stack = (200.0 * counts()).astype(dtype)
    summed = np.asarray(read(standard(tmp_path / "scan.h5", patterns=stack), **ALL, bin=2).patterns)
    assert summed.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_array_equal(summed, cut(stack).astype(float).reshape(-1, 10, 2, 10, 2).sum((2, 4)))
    assert summed.max() > np.finfo(np.float16).max

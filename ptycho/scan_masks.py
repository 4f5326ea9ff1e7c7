"""Masks of numpy's masked arrays, and of pixels that hold a flag of the detector, as bad pixels of a scan."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.stored_array import Array, Stack

Mask = npt.NDArray[np.bool_]


def as_plain(arrays: Mapping[str, Any], origin: str) -> dict[str, Stack]:
    """Arrays without masks: what is masked of patterns becomes bad pixels, with the value 0.

    Args:
        arrays: by their key in the data contract; some may be `numpy.ma.MaskedArray`.
        origin: where they come from, for the message.

    Raises:
        DataError: values of other arrays are masked.
    """
    plain: dict[str, Stack] = dict(arrays)
    for key, array in arrays.items():
        if not np.ma.isMaskedArray(array):
            continue
        mask: Mask = np.ma.getmaskarray(array)
        plain[key] = np.ma.getdata(array)
        if not mask.any():
            continue
        if key not in ("diff3d", "diffraction"):
            got, advice = (
                f"{np.count_nonzero(mask)} masked ones",
                "Add the missing values, or leave these positions out.",
            )
            raise DataError(problem(key, "complete values", got, origin, advice))
        plain[key] = np.where(mask, np.zeros((), array.dtype), plain[key])
        if mask.ndim == 3:
            common = bool((mask == mask[:1]).all())
            known = plain.get("bad_pixels")
            plain["bad_pixels"] = joined(
                None if known is None else np.asarray(known), mask[0] if common else mask
            )
    return plain


def joined(bad: Array | None, further: Mask) -> Array:
    """Bad pixels, (N, N) or (n, N, N) or none, and further ones; as given where the two do not fit together."""
    if bad is None:
        return further
    try:
        return bad.astype(bool) | further
    except ValueError:  # of another shape, which is reported by name
        return bad

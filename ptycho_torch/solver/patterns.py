"""Measured patterns, read a chunk at a time from anything that is indexed like an array."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Domain = Literal["amplitude", "intensity"]


class Patterns:
    """Diffraction patterns as they are stored, zero frequency at (N//2, N//2); nothing is copied but the chunk in use.

    Args:
        stored: (n, N, N), real or integer: a numpy array, a memory map, an HDF5 data set, or a tensor.
        domain: 'amplitude' (photon**0.5) or 'intensity' (photons), of what is stored.
        bad_pixels: bool (N, N) or (n, N, N), True where nothing was measured; None where every pixel was.
    """

    def __init__(self, stored: Any, domain: Domain, bad_pixels: NDArray[np.bool_] | None = None) -> None:
        self.stored = stored
        self.domain: Domain = domain
        self.n_patterns, _, self.n_pixels = stored.shape
        self._bad = bad_pixels

    def read(self, ids: NDArray[np.int64], domain: Domain, out: Tensor) -> Tensor:
        """Read some patterns.

        Args:
            ids: which, increasing.
            domain: what to give, whatever is stored.
            out: real (k, N, N), overwritten.

        Returns:
            ``out``.
        """
        part = self.stored[_where(ids)]
        if isinstance(part, Tensor):
            out.copy_(part)
        elif out.device.type == "cpu":
            np.copyto(out.numpy(), part, casting="unsafe")
        else:
            out.copy_(torch.from_numpy(np.array(part, dtype=np.float32)))
        if domain == self.domain:
            return out
        return out.sqrt_() if domain == "amplitude" else out.square_()

    def measured(self, ids: NDArray[np.int64], like: Tensor) -> Tensor | None:
        """Where pixels were measured: 0 or 1 in the dtype of ``like``, (N, N) or (k, N, N); None when all were."""
        if self._bad is None:
            return None
        bad = self._bad if self._bad.ndim == 2 else self._bad[_where(ids)]
        return torch.from_numpy(~bad).to(like)

    def bad_pixels(self, ids: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Where nothing was measured, for a copy of some patterns: (N, N), (k, N, N) or None."""
        return self._bad if self._bad is None or self._bad.ndim == 2 else self._bad[ids]

    def n_measured(self, ids: NDArray[np.int64]) -> int:
        """Measured pixels of some patterns."""
        if self._bad is None:
            return len(ids) * self.n_pixels**2
        if self._bad.ndim == 2:
            return len(ids) * int((~self._bad).sum())
        return sum(int((~self._bad[one]).sum()) for one in ids)

    def mean_photons(self, ids: NDArray[np.int64], n_most: int = 256) -> float:
        """Mean photons of a pattern in its measured pixels, from at most ``n_most`` patterns spread over ``ids``."""
        some = ids[:: max(1, len(ids) // n_most)]
        total = 0.0
        for one in some:
            which = np.array([one])
            counts = self.read(which, "intensity", torch.empty(1, self.n_pixels, self.n_pixels))
            seen = self.measured(which, counts)
            total += float((counts if seen is None else counts * seen).sum(dtype=torch.float64))
        return total / len(some)


def _where(ids: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """A slice where the patterns follow each other: it copies nothing, and files read it best."""
    first, last = int(ids[0]), int(ids[-1])
    return slice(first, last + 1) if last - first + 1 == len(ids) else ids

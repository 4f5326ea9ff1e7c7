"""A data set of neighbour groups over one or several scans, read from the patterns in memory without copies."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ptycho.raw_data import DataError, RawData

Indices = NDArray[np.int64]

SCALE_SAMPLE = 256
"""Patterns of a scan that its mean photon number and amplitude are taken from."""


class GroupDataset(Dataset[dict[str, Tensor]]):
    """Groups of C patterns each; a group lies within one scan.

    Args:
        scans: the scans, all with patterns of the same size.
        groups: for each scan, int64 (G, C) indices of its patterns.
        with_labels: add ``label``, the patches of the known object.
        phase_subtraction: subtract the mean phase of every label.
        probe_rows: for each scan, which probe of the model is its own; None: each has one.

    Batches are fetched at once (``__getitems__``); ``ptycho_torch.forward_model.Batch`` says what they hold.
    """

    def __init__(
        self,
        scans: Sequence[RawData],
        groups: Sequence[Indices],
        *,
        with_labels: bool = False,
        phase_subtraction: bool = False,
        probe_rows: Sequence[int] | None = None,
    ) -> None:
        self.scans = list(scans)
        self.probe_rows = range(len(self.scans)) if probe_rows is None else probe_rows
        self.groups = np.concatenate(list(groups))
        self.scan_of_group = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
        self.known = [known_object(scan) for scan in self.scans] if with_labels else None
        self.phase_subtraction = phase_subtraction
        self.any_unmeasured = any(scan.bad_pixels is not None for scan in self.scans)
        self.any_varies = any(scan.intensities is not None for scan in self.scans)
        self.rounded = [np.round(scan.positions_px).astype(np.int64) for scan in self.scans]
        self.means = [mean_pattern(scan) for scan in self.scans]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A whole batch, ready for the model; the patterns of each scan are read in one go."""
        chosen = np.asarray(indices)
        scans = self.scan_of_group[chosen]
        parts = [self._read(int(number), self.groups[chosen[scans == number]]) for number in np.unique(scans)]
        if len(parts) == 1:
            return parts[0]
        as_asked = torch.from_numpy(np.argsort(np.argsort(scans, kind="stable")))
        return {name: torch.cat([part[name] for part in parts])[as_asked] for name in parts[0]}

    def _read(self, scan_number: int, groups: Indices) -> dict[str, Tensor]:
        scan, rounded = self.scans[scan_number], self.rounded[scan_number][groups]
        n_pixels = scan.patterns.shape[-1]
        shape = (*groups.shape, n_pixels, n_pixels)
        remainder = scan.positions_px[groups] - rounded
        batch = {
            "amplitude": torch.from_numpy(scan.amplitude(groups.reshape(-1)).reshape(shape)),
            "corner": torch.from_numpy(rounded - n_pixels // 2),
            "remainder": torch.from_numpy(remainder.astype(np.float32)),
            "scan": torch.full((len(groups),), self.probe_rows[scan_number], dtype=torch.int64),
            "mean_counts": torch.full((len(groups),), self.means[scan_number][0]),
            "mean_amplitude": torch.full((len(groups),), self.means[scan_number][1]),
        }
        if self.any_varies:
            batch["intensity"] = torch.from_numpy(intensities_of(scan, groups))
        if self.any_unmeasured:
            batch["measured"] = torch.from_numpy(measured_pixels(scan, groups, shape))
        if self.known is not None:
            cut = labels(scan, self.known[scan_number], groups.reshape(-1))
            if self.phase_subtraction:
                cut = cut * np.exp(-1j * np.angle(cut.mean(axis=(1, 2), keepdims=True))).astype(np.complex64)
            batch["label"] = torch.from_numpy(cut.reshape(shape))
        return batch


class EpochOrder(Sampler[int]):
    """The groups that one process takes in an epoch.

    A shuffled order follows from seed and epoch alone, so a resumed run takes the groups that it would have taken.
    Of several processes each takes every n-th group, so that the batches of one step make up the batch of a single
    process with as many times the batch size; where they would not take equally many, the first groups come again.

    Args:
        n_groups: groups there are.
        seed: of the shuffle; None takes the groups in order.
        rank: number of this process.
        n_processes: processes that share the groups.
        first_epoch: the epoch that the training begins with.
        n_taken: groups of that epoch that this process has taken already.
    """

    def __init__(
        self,
        n_groups: int,
        *,
        seed: int | None,
        rank: int = 0,
        n_processes: int = 1,
        first_epoch: int = 0,
        n_taken: int = 0,
    ) -> None:
        self._n_groups, self._seed, self._rank, self._n_processes = n_groups, seed, rank, n_processes
        self._epoch = self._first_epoch = first_epoch
        self._n_taken = n_taken

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins; Lightning does so."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Groups of a whole epoch."""
        return -(-self._n_groups // self._n_processes)

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self._n_groups)
        if self._seed is not None:
            order = np.random.default_rng((self._seed, self._epoch)).permutation(self._n_groups)
        shared = np.resize(order, len(self) * self._n_processes)
        taken = self._n_taken if self._epoch == self._first_epoch else 0
        return iter(shared[self._rank :: self._n_processes][taken:].tolist())


def batches(dataset: GroupDataset, **arguments: Any) -> DataLoader[dict[str, Tensor]]:
    """A data loader over groups; the arguments are those of ``torch.utils.data.DataLoader``.

    The data set makes whole batches, so nothing is left to collate.
    """
    return DataLoader(dataset, collate_fn=_as_it_is, **arguments)


def _as_it_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return batch


def mean_pattern(scan: RawData) -> tuple[float, float]:
    """Photons of a pattern and the sum of its amplitudes (photon**0.5), mean over up to 256 evenly spaced patterns."""
    sample = np.unique(np.linspace(0, len(scan) - 1, SCALE_SAMPLE).astype(np.int64))
    amplitude = scan.amplitude(sample)
    measured = measured_pixels(scan, sample, amplitude.shape)
    sums = np.sum([np.square(amplitude, dtype=np.float64), amplitude], axis=(2, 3), where=measured)
    counts, amplitudes = sums.mean(axis=1)
    return float(counts), float(amplitudes)


def intensities_of(scan: RawData, indices: Indices) -> NDArray[np.float32]:
    """Relative intensity of the beam in chosen patterns: float32, shape of ``indices``; 1 where nobody found others."""
    found = np.ones(len(scan)) if scan.intensities is None else scan.intensities
    return found[indices].astype(np.float32)


def measured_pixels(scan: RawData, groups: Indices, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """True where a pixel of a pattern was measured: bool of the given shape (G, C, N, N)."""
    if scan.bad_pixels is None:
        return np.ones(shape, dtype=bool)
    bad = scan.bad_pixels if scan.bad_pixels.ndim == 2 else scan.bad_pixels[groups.reshape(-1)].reshape(shape)
    return np.array(np.broadcast_to(~bad, shape))


def known_object(scan: RawData) -> NDArray[np.complex64] | None:
    """The object that the labels of a scan are cut from; None where the scan holds labels.

    It is ``objectTruth``, else an ``objectGuess`` that varies.

    Raises:
        DataError: neither labels nor a known object, or an object too small for the scan positions.
    """
    if scan.labels is not None:
        return None
    known = scan.object_guess if scan.object_truth is None else scan.object_truth
    if known is None or (scan.object_truth is None and not np.ptp(np.abs(known)) + np.ptp(np.angle(known))):
        raise DataError(
            f"{scan.path or 'scan'}: objectGuess: expected a known object (or label_amp and label_phase) for "
            "supervised training; got none, or a constant one. Give an object, or train with model_type='pinn'."
        )
    half = scan.patterns.shape[-1] // 2
    rounded = np.round(scan.positions_px).astype(int)
    low, high = rounded.min(axis=0) - half, rounded.max(axis=0) + half
    if (low < 0).any() or (high > known.shape).any():
        raise DataError(
            f"{scan.path or 'scan'}: objectGuess: expected an object that holds every patch, rows and columns "
            f"{low.tolist()} to {high.tolist()}; got shape {known.shape}. Pad the object, or shift the positions."
        )
    return known


def labels(scan: RawData, known: NDArray[np.complex64] | None, indices: Indices) -> NDArray[np.complex64]:
    """Object patches of chosen patterns, cut from the known object or held by the scan: complex64 (k, N, N)."""
    if scan.labels is not None:
        amplitude, phase = scan.labels.amplitude[indices], scan.labels.phase[indices]
        return (amplitude * np.exp(1j * phase)).astype(np.complex64)
    n_pixels = scan.patterns.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(known, (n_pixels, n_pixels))
    corner = np.round(scan.positions_px[indices]).astype(int) - n_pixels // 2
    return windows[corner[:, 0], corner[:, 1]].astype(np.complex64)

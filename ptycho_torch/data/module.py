"""Which patterns train, which validate, and the loaders over them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ptycho.config.canonical import TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.grouping import NEAREST, Neighborhood, neighbor_groups, select_positions
from ptycho.raw_data import DataError, RawData, load_scans
from ptycho.scan_checks import INTENSITY_SUSPICION
from ptycho.scan_domain import TrainedDomains
from ptycho_torch.config_params import DataConfig
from ptycho_torch.data.completing import completed, find, of_orientation, with_verdict
from ptycho_torch.data.found import with_found
from ptycho_torch.data.groups import EpochOrder, GroupDataset, Indices, batches
from ptycho_torch.data.options import neighborhood_of, with_probe_options
from ptycho_torch.runtime import loader_arguments

logger = logging.getLogger(__name__)

DOSE_SAMPLE = 64
"""Patterns of a scan looked at for their photon number."""


def usable_patterns(scan: RawData) -> Indices:
    """Indices of the patterns that are not held out for evaluation."""
    if scan.holdout is None:
        return np.arange(len(scan.patterns))
    return np.flatnonzero(~scan.holdout)


def stack_probes(scans: Sequence[RawData]) -> torch.Tensor:
    """The illuminations of scans: complex64 (n_scans, modes, N, N).

    Raises:
        DataError: the scans have patterns of different size.
    """
    shapes = {scan.patterns.shape[-1] for scan in scans}
    if len(shapes) > 1:
        raise DataError(
            f"patterns: expected scans of one pattern size N; got {sorted(shapes)}. Train them separately."
        )
    n_modes = max(len(scan.probe) for scan in scans)
    stacked = np.zeros((len(scans), n_modes, *scans[0].probe.shape[1:]), dtype=np.complex64)
    for number, scan in enumerate(scans):
        stacked[number, : len(scan.probe)] = scan.probe
    return torch.from_numpy(stacked)


def refuse_counts_as_amplitude(scan: RawData, nphotons: float) -> None:
    """Refuse amplitudes whose squares are far more photons than a pattern can hold.

    Args:
        scan: looked at in a sample of its patterns.
        nphotons: incident photons of a pattern.

    Raises:
        DataError: the patterns look like counts that are taken for amplitudes.
    """
    if scan.domain != "amplitude":
        return
    sample = np.unique(np.linspace(0, len(scan) - 1, DOSE_SAMPLE).astype(np.int64))
    photons = float(np.square(scan.amplitude(sample), dtype=np.float64).sum(axis=(1, 2)).mean())
    if photons > INTENSITY_SUSPICION * nphotons:
        raise DataError(
            f"{scan.path or 'scan'}: patterns: expected amplitudes, whose squares sum to about nphotons = {nphotons:g} "
            f"in a pattern, or less; got {photons:.3g}. If these are counts, set measurement_domain to 'intensity'. "
            "Else correct nphotons."
        )


class ScanDataModule(lightning.LightningDataModule):
    """Training and validation groups of the scans a training configuration names.

    Args:
        config: what to train on.
        execution: loaders, validation split, seeds.
        scans: scans in memory, in place of ``train_data_file``.
        validation_scans: scans in memory, in place of ``test_data_file``.
        options: what this backend's data configuration says beyond `config`; None: nothing.
        trained: how an earlier part of the training read its scans; None: there was none.

    The scans are read once, in this process (``load``). Held-out patterns are used for neither.
    A random fraction ``val_split`` of the positions is left out of training, and the same share of the ``n_groups``
    groups is centred there and validates; with ``test_data_file`` one group around every position of that file
    validates, and nothing is split off.

    Attributes:
        scans: every scan that trains or validates, after ``load``.
        probe_scans: the scans whose illuminations are the model's probes, in their order: every training scan, and
            the validation scans whose illumination is that of no scan before.
        training, validation: their groups; None where there are none.
        first_epoch: the epoch that a training begins with. Loading processes ask for its first groups before Lightning
            tells them which epoch it is.
        batches_done: batches of that epoch that have been trained already.
    """

    def __init__(
        self,
        config: TrainingConfig,
        execution: PyTorchExecutionConfig,
        *,
        scans: Sequence[RawData] | None = None,
        validation_scans: Sequence[RawData] | None = None,
        options: DataConfig | None = None,
        trained: TrainedDomains | None = None,
    ) -> None:
        super().__init__()
        self.options = DataConfig() if options is None else options
        self._trained = trained
        self._given = scans
        self._given_for_validation = validation_scans
        self.config = config
        self.execution = execution
        self.first_epoch = self.batches_done = 0
        self.scans: list[RawData] = []
        self.probe_scans: list[RawData] = []
        self.training: GroupDataset | None = None
        self.validation: GroupDataset | None = None

    @property
    def has_validation(self) -> bool:
        """Whether any group validates (after ``load``)."""
        return self.validation is not None

    @property
    def wants_validation(self) -> bool:
        """Whether something is to validate (before ``load``)."""
        return self.execution.val_split > 0 or self._has_validation_scans

    @property
    def _has_validation_scans(self) -> bool:
        return self._given_for_validation is not None or self.config.test_data_file is not None

    @property
    def _seed(self) -> int:
        """Seed of every choice of positions and groups: ``subsample_seed``, else the seed of the run."""
        return self.execution.seed if self.config.subsample_seed is None else self.config.subsample_seed

    @property
    def with_labels(self) -> bool:
        """Whether the losses in force need a known object."""
        return self.config.model.model_type == "supervised" or self.config.realspace_mae_weight > 0

    @property
    def _labelling(self) -> dict[str, bool]:
        return {"with_labels": self.with_labels, "phase_subtraction": self.options.phase_subtraction}

    def load(self) -> None:
        """Read the files, choose the positions, form the groups.

        Raises:
            DataError: a file is not what the data contract says, the patterns have another size than the model, or
                ``val_split`` leaves no group to train on.
        """
        read = self._read(self._given, self.config.train_data_file)
        self.scans = [self._completed(scan, self.config.start) for scan in read]
        most = self.config.n_subsample
        n_usable = [len(usable_patterns(scan)[:most]) for scan in self.scans]
        shares = _shares(self.config.n_groups or sum(n_usable), n_usable)
        split = [self._split(scan, share) for scan, share in zip(self.scans, shares, strict=True)]
        self.training = GroupDataset(self.scans, [train for train, _ in split], **self._labelling)
        self.probe_scans = list(self.scans)
        validation = [held for _, held in split]
        rows = list(range(len(split)))
        if self._has_validation_scans:
            read_too = self._read(self._given_for_validation, self.config.test_data_file)
            scans = [self._completed(scan) for scan in read_too]
            validation = [train[:0] for train, _ in split]
            validation += [self._groups(scan, usable_patterns(scan), None) for scan in scans]
            guesses = [scan.probe for scan in read]
            rows += [self._probe_row(*pair, guesses) for pair in zip(scans, read_too, strict=True)]
            self.scans = [*self.scans, *scans]
        if sum(len(groups) for groups in validation):
            self.validation = GroupDataset(self.scans, validation, probe_rows=rows, **self._labelling)

    def _completed(self, scan: RawData, start: Path | None = None) -> RawData:
        """A scan with what its file does not tell, and with what a run has found of it."""
        known = with_found(scan, start, "training.start")
        ids = usable_patterns(known)
        findings = find(known, ids)
        whole = completed(known, findings)
        if (verdict := of_orientation(whole, ids, findings.unclear_error)) is not None:
            whole = with_verdict(whole, verdict, says=rank_zero_only.rank in (0, None))
        return with_found(with_probe_options(whole, self.options), start, "training.start")

    def _probe_row(self, scan: RawData, read: RawData, guesses: list[NDArray[np.complex64]]) -> int:
        """The probe of a validation scan: that of an earlier scan whose file has an equal one, else one of its own."""
        for row, guess in enumerate(guesses):
            if np.array_equal(read.probe, guess):
                return row
        self.probe_scans.append(scan)
        guesses.append(read.probe)
        return len(guesses) - 1

    def _read(self, given: Sequence[RawData] | None, path: Path | None) -> list[RawData]:
        """The scans that were given, or else those of a file."""
        domain = self.config.measurement_domain
        scans = (
            load_scans(str(path), domain, self._trained, self.config.data) if given is None else list(given)
        )
        n_pixels = self.config.model.N
        for scan in scans:
            if scan.patterns.shape[-1] != n_pixels:
                size = scan.patterns.shape[-1]
                raise DataError(
                    f"{scan.path or 'scan'}: patterns: expected {n_pixels} x {n_pixels} pixels (model.N); "
                    f"got {size} x {size}. Set N to {size}, or leave it to the data."
                )
            if not len(usable_patterns(scan)):
                raise DataError(
                    f"{scan.path or 'scan'}: holdout: expected some patterns that are not held out for evaluation; "
                    f"got none among {len(scan)}. Leave holdout out to use all."
                )
            refuse_counts_as_amplitude(scan, self.config.nphotons)
        return scans

    def _split(self, scan: RawData, n_groups: int) -> tuple[Indices, Indices]:
        usable = usable_patterns(scan)
        if self.config.n_subsample is not None:
            chosen = select_positions(
                len(usable), self.config.n_subsample, self._seed, self.config.sequential_sampling
            )
            usable = usable[chosen]
        n_held = self._n_held(scan, len(usable))
        held = np.random.default_rng(self.execution.val_split_seed).permutation(usable)[:n_held]
        wanted = max(1, round(n_groups * n_held / len(usable))) if n_held else 0
        n_validation = max(0, min(wanted, n_held, n_groups - 1))
        hood = neighborhood_of(self.options)
        training = self._groups(scan, np.setdiff1d(usable, held), n_groups - n_validation, hood)
        everywhere = self._groups(scan, usable, None) if n_validation else training[:0]
        centres = np.sort(held) if self.config.sequential_sampling else held
        return training, everywhere[np.isin(everywhere[:, 0], centres[:n_validation])]

    def _n_held(self, scan: RawData, n_positions: int) -> int:
        """Positions of a scan that are left out of training, so that groups centred there can validate."""
        fraction, n_members = self.execution.val_split, self.config.model.gridsize**2
        if fraction == 0 or self._has_validation_scans or n_positions < 2:
            return 0
        n_held = max(1, round(fraction * n_positions))
        if n_positions - n_held < n_members <= n_positions:
            raise DataError(
                f"val_split: expected to leave at least {n_members} of the {n_positions} positions of "
                f"{scan.path or 'scan'} to training; got {fraction:g} from {self.execution.sources['val_split']}, "
                f"which leaves {n_positions - n_held}. Lower it (PTYCHO_EXEC_VAL_SPLIT), or use more positions."
            )
        return n_held

    def _groups(
        self, scan: RawData, usable: Indices, n_groups: int | None, neighborhood: Neighborhood = NEAREST
    ) -> Indices:
        """Groups over the usable patterns of a scan; None: one for each."""
        config, wanted = self.config, len(usable) if n_groups is None else n_groups
        if n_groups == 0:
            return np.empty((0, config.model.gridsize**2), dtype=np.int64)
        if wanted > len(usable) and not config.enable_oversampling:
            logger.warning(
                "n_groups: %d groups requested, %d positions to train on; using %d. "
                "Set enable_oversampling to draw more.",
                wanted,
                len(usable),
                len(usable),
            )
            wanted = len(usable)
        groups = neighbor_groups(
            scan.positions_px[usable],
            config.model.gridsize,
            config.neighbor_count,
            wanted,
            self._seed,
            sequential=config.sequential_sampling,
            oversample=config.enable_oversampling,
            neighbor_pool_size=config.neighbor_pool_size,
            scan_index=scan.scan_index[usable],
            neighborhood=neighborhood,
        )
        return usable[groups]

    def train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        """Shuffled training groups (in order with ``sequential_sampling``)."""
        return self._loader(self.training, training=True)

    def val_dataloader(self) -> DataLoader[dict[str, torch.Tensor]] | list[None]:
        """Validation groups in fixed order; nothing when none were split off."""
        return self._loader(self.validation, training=False) if self.validation is not None else []

    def _loader(self, dataset: GroupDataset | None, *, training: bool) -> DataLoader[dict[str, torch.Tensor]]:
        if dataset is None:
            raise RuntimeError("ScanDataModule: expected load() before its loaders are used.")
        arguments = loader_arguments(self.execution, training=training, batch_size=self.config.batch_size)
        shuffled = training and not self.config.sequential_sampling
        rank, n_processes = (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )
        order = EpochOrder(
            len(dataset),
            seed=self.execution.seed if shuffled else None,
            rank=rank,
            n_processes=n_processes,
            first_epoch=self.first_epoch,
            n_taken=self.batches_done * self.config.batch_size if training else 0,
        )
        return batches(dataset, sampler=order, **arguments)


def _shares(n_groups: int, n_usable: Sequence[int]) -> list[int]:
    """Divide groups between scans in proportion to their patterns; the remainders go to the first scans."""
    shares = [n_groups * n // sum(n_usable) for n in n_usable]
    left = n_groups - sum(shares)
    return [share + (i < left) for i, share in enumerate(shares)]

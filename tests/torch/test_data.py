"""Data sets of groups and the split between training and validation, on a real file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho.raw_data import DataError, RawData
from ptycho_torch.data.groups import GroupDataset, labels
from ptycho_torch.data.module import ScanDataModule, stack_probes, usable_patterns
from tests.torch.conftest import N, TinyModel


def loaded(tiny_file: Path, *, execution: dict | None = None, **training) -> ScanDataModule:
    tiny = TinyModel(execution=execution or {})
    module = ScanDataModule(tiny.canonical(tiny_file, **training), tiny.execution_config)
    module.load()
    return module


def test_an_item_holds_the_patterns_and_places_of_its_group(tiny_scan: RawData) -> None:
    groups = np.array([[3, 5, 7, 9], [1, 0, 2, 4]])
    item = GroupDataset([tiny_scan], [groups])[1]
    np.testing.assert_array_equal(item["amplitude"], tiny_scan.amplitude(groups[1]))
    rounded = np.round(tiny_scan.positions_px[groups[1]])
    np.testing.assert_array_equal(item["corner"], rounded - N // 2)
    np.testing.assert_allclose(item["remainder"], tiny_scan.positions_px[groups[1]] - rounded, atol=1e-6)


def test_a_batch_over_two_scans_keeps_its_order(tiny_scan: RawData) -> None:
    groups = [np.array([[0], [1]]), np.array([[2], [3]])]
    items = GroupDataset([tiny_scan, tiny_scan], groups).__getitems__([3, 0, 2, 1])
    assert [int(item["scan"]) for item in items] == [1, 0, 1, 0]
    for item, pattern in zip(items, [3, 0, 2, 1], strict=True):
        np.testing.assert_array_equal(item["amplitude"][0], tiny_scan.amplitude([pattern])[0])


def test_bad_pixels_arrive_as_not_measured(tiny_scan: RawData) -> None:
    bad = np.zeros((N, N), dtype=bool)
    bad[4, 5] = True
    scan = RawData.from_arrays(
        tiny_scan.patterns, tiny_scan.positions_px, tiny_scan.probe, domain="amplitude", bad_pixels=bad
    )
    measured = GroupDataset([scan], [np.array([[0, 1]])])[0]["measured"]
    assert not measured[:, 4, 5].any()
    assert measured.sum() == 2 * (N * N - 1)


def test_labels_are_the_patches_of_the_known_object(tiny_scan: RawData) -> None:
    cut = labels(tiny_scan, np.array([5]))[0]
    row, column = np.round(tiny_scan.positions_px[5]).astype(int) - N // 2
    np.testing.assert_array_equal(cut, tiny_scan.object_truth[row : row + N, column : column + N])


def test_supervised_training_without_a_known_object_is_refused(tiny_scan: RawData) -> None:
    scan = RawData.from_arrays(
        tiny_scan.patterns, tiny_scan.positions_px, tiny_scan.probe, domain="amplitude"
    )
    with pytest.raises(DataError, match=r"expected a known object.*model_type='pinn'"):
        GroupDataset([scan], [np.array([[0]])], with_labels=True)


def test_held_out_patterns_neither_train_nor_validate(tiny_file: Path, tiny_scan: RawData) -> None:
    module = loaded(tiny_file)
    seen = np.concatenate([module.training.groups.ravel(), module.validation.groups.ravel()])
    assert not tiny_scan.holdout[seen].any()


def test_validation_centres_never_train(tiny_file: Path) -> None:
    module = loaded(tiny_file, execution={"val_split": 0.2})
    assert len(module.validation) == round(0.2 * len(usable_patterns(module.scans[0])))
    assert not np.isin(module.validation.groups[:, 0], module.training.groups).any()


def test_no_split_means_no_validation(tiny_file: Path) -> None:
    module = loaded(tiny_file, execution={"val_split": 0.0})
    assert not module.has_validation
    assert module.val_dataloader() == []
    assert len(module.training) == 40


def test_a_test_file_validates_and_nothing_is_split_off(tiny_file: Path) -> None:
    module = loaded(tiny_file, test_data_file=tiny_file)
    assert len(module.training) == 40
    assert set(module.validation.scan_of_group) == {1}
    assert stack_probes(module.scans).shape == (2, 1, N, N)


def test_more_groups_than_positions_are_cut_and_said(
    tiny_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = TinyModel(execution={"val_split": 0.0})
    config = tiny.canonical(tiny_file)
    config.n_groups = 500
    module = ScanDataModule(config, tiny.execution_config)
    module.load()
    assert len(module.training) == len(usable_patterns(module.scans[0]))
    assert "enable_oversampling" in caplog.text


def test_oversampling_draws_as_many_groups_as_asked_for(tiny_file: Path) -> None:
    tiny = TinyModel(execution={"val_split": 0.0})
    config = tiny.canonical(tiny_file, enable_oversampling=True, neighbor_count=6)
    config.n_groups = 200
    module = ScanDataModule(config, tiny.execution_config)
    module.load()
    assert len(module.training) == 200


def test_the_same_seed_gives_the_same_groups_and_another_seed_others(tiny_file: Path) -> None:
    one, two, three = (loaded(tiny_file, execution={"seed": seed}).training.groups for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()


def test_worker_processes_give_the_batches_of_one_process(tiny_file: Path) -> None:
    batches = [list(loaded(tiny_file, execution={"num_workers": n}).train_dataloader()) for n in (0, 2)]
    for alone, shared in zip(*batches, strict=True):
        torch.testing.assert_close(alone, shared, rtol=0, atol=0)


def test_sequential_sampling_keeps_the_order_of_the_scan(tiny_file: Path) -> None:
    module = loaded(tiny_file, execution={"val_split": 0.0}, sequential_sampling=True)
    centres = torch.cat([batch["corner"][:, 0] for batch in module.train_dataloader()])
    rounded = np.round(module.scans[0].positions_px[module.training.groups[:, 0]]) - N // 2
    np.testing.assert_array_equal(centres, rounded)
    assert (np.diff(module.training.groups[:, 0]) > 0).all()


def test_counts_taken_for_amplitudes_are_refused_by_the_photon_number_in_force(tiny_file: Path) -> None:
    tiny = TinyModel()
    config = tiny.canonical(tiny_file, nphotons=1e3)
    with pytest.raises(DataError, match=r"nphotons = 1000 .*measurement_domain 'intensity'"):
        ScanDataModule(config, tiny.execution_config).load()

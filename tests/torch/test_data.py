"""Data sets of groups and the split between training and validation, on a real file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho.raw_data import DataError, Labels, RawData
from ptycho_torch.config_params import DataConfig
from ptycho_torch.data.groups import GroupDataset
from ptycho_torch.data.module import ScanDataModule, stack_probes, usable_patterns
from ptycho_torch.data.options import with_probe_options
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
    batch = GroupDataset([tiny_scan, tiny_scan], groups).__getitems__([3, 0, 2, 1])
    assert batch["scan"].tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(batch["amplitude"][:, 0], tiny_scan.amplitude([3, 0, 2, 1]))


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
    cut = GroupDataset([tiny_scan], [np.array([[5]])], with_labels=True)[0]["label"][0]
    row, column = np.round(tiny_scan.positions_px[5]).astype(int) - N // 2
    np.testing.assert_array_equal(cut, tiny_scan.object_truth[row : row + N, column : column + N])


@pytest.mark.parametrize("held", [False, True])
def test_labels_belong_to_the_probe_in_use(tiny_scan: RawData, held: bool) -> None:
    """The probe times the label is the same wave, whatever unit probe and object came in and whatever scales them."""
    known = tiny_scan.object_truth
    scans = [
        RawData.from_arrays(
            tiny_scan.patterns,
            tiny_scan.positions_px,
            tiny_scan.probe * factor,
            domain="amplitude",
            object_guess=known / factor,
        )
        for factor in (1.0, 0.1, 10.0)
    ]
    if held:
        labels = Labels(np.ones_like(tiny_scan.patterns), np.zeros_like(tiny_scan.patterns))
        scans = [dataclasses.replace(tiny_scan, labels=labels)]
    scans += [with_probe_options(scan, DataConfig(data_scaling="Max")) for scan in scans]
    waves = []
    for scan in scans:
        label = GroupDataset([scan], [np.array([[5]])], with_labels=True)[0]["label"][0]
        waves.append(scan.probe * label.numpy())
    assert not np.allclose(scans[0].probe, scans[-1].probe, rtol=1e-2)
    for wave in waves[1:]:
        np.testing.assert_allclose(wave, waves[0], rtol=1e-4, atol=1e-2)


def test_the_known_object_is_looked_at_once(tiny_scan: RawData, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = dataclasses.replace(tiny_scan, object_truth=None, object_guess=tiny_scan.object_truth)
    dataset = GroupDataset([scan], [np.arange(70)[:, None]], with_labels=True)
    monkeypatch.setattr(np, "ptp", None)
    monkeypatch.setattr(np, "angle", None)
    assert len(dataset.__getitems__([3, 4])["scan"]) == 2


def test_supervised_training_without_a_known_object_is_refused(tiny_scan: RawData) -> None:
    scan = RawData.from_arrays(
        tiny_scan.patterns, tiny_scan.positions_px, tiny_scan.probe, domain="amplitude"
    )
    with pytest.raises(DataError, match="model_type='pinn'"):
        GroupDataset([scan], [np.array([[0]])], with_labels=True)


def test_held_out_patterns_neither_train_nor_validate(tiny_file: Path, tiny_scan: RawData) -> None:
    module = loaded(tiny_file)
    seen = np.concatenate([module.training.groups.ravel(), module.validation.groups.ravel()])
    assert not tiny_scan.holdout[seen].any()


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("n_groups", [2, 40, 60])
def test_training_and_validation_share_the_groups_asked_for(
    tiny_file: Path, n_groups: int, sequential: bool
) -> None:
    module = loaded(
        tiny_file, execution={"val_split": 0.2}, n_groups=n_groups, sequential_sampling=sequential
    )
    assert len(module.training) + len(module.validation) == n_groups
    assert len(module.validation) == max(1, round(0.2 * n_groups))
    assert not np.isin(module.validation.groups[:, 0], module.training.groups).any()


def test_groups_drawn_beyond_the_positions_train(tiny_file: Path) -> None:
    module = loaded(tiny_file, execution={"val_split": 0.2}, n_groups=200, enable_oversampling=True)
    assert len(module.validation) == round(0.2 * len(usable_patterns(module.scans[0])))
    assert len(module.training) + len(module.validation) == 200


def test_a_number_of_groups_beyond_all_bounds_is_that_of_the_positions(tiny_file: Path) -> None:
    module = loaded(tiny_file, execution={"val_split": 0.0}, n_groups=2**62)
    assert len(module.training) == len(usable_patterns(module.scans[0]))


def test_the_seed_of_the_split_decides_which_groups_validate(tiny_file: Path) -> None:
    one, two, three = (
        loaded(tiny_file, execution={"val_split": 0.2, "val_split_seed": seed}).validation.groups[:, 0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert set(one) != set(three)


@pytest.mark.parametrize(("gridsize", "n_subsample"), [(1, 2), (1, 40), (2, 40)])
def test_a_split_that_leaves_no_group_to_train_on_is_refused(
    tiny_file: Path, gridsize: int, n_subsample: int
) -> None:
    tiny = TinyModel(gridsize=gridsize, execution={"val_split": 0.99})
    module = ScanDataModule(tiny.canonical(tiny_file, n_subsample=n_subsample), tiny.execution_config)
    rule = f"val_split: expected to leave at least {gridsize**2} of the {n_subsample} positions"
    with pytest.raises(
        DataError, match=rule + r" .*tiny\.npz to training; got 0\.99 from argument, which leaves 0\."
    ):
        module.load()


def test_a_scan_that_is_held_out_as_a_whole_is_refused(tiny_scan: RawData) -> None:
    tiny = TinyModel()
    scan = dataclasses.replace(tiny_scan, holdout=np.ones(len(tiny_scan), dtype=bool))
    module = ScanDataModule(tiny.canonical(Path("a.npz")), tiny.execution_config, scans=[scan])
    with pytest.raises(DataError, match=r"\bholdout: .*70"):
        module.load()


def test_no_split_means_no_validation(tiny_file: Path) -> None:
    module = loaded(tiny_file, execution={"val_split": 0.0})
    assert not module.has_validation
    assert module.val_dataloader() == []
    assert len(module.training) == 40


def test_a_test_file_validates_and_nothing_is_split_off(tiny_file: Path) -> None:
    module = loaded(tiny_file, test_data_file=tiny_file)
    assert len(module.training) == 40
    assert set(module.validation.scan_of_group) == {1}


def test_a_validation_scan_uses_the_training_probe_that_equals_its_own(tiny_scan: RawData) -> None:
    tiny = TinyModel()
    other, another = (dataclasses.replace(tiny_scan, probe=tiny_scan.probe * factor) for factor in (1.1j, 1j))
    module = ScanDataModule(
        tiny.canonical(Path("a.npz")),
        tiny.execution_config,
        scans=[tiny_scan, other],
        validation_scans=[other, another, tiny_scan],
    )
    module.load()
    rows = [
        set(module.validation.__getitems__(where)["scan"].tolist())
        for where in (np.flatnonzero(module.validation.scan_of_group == number) for number in (2, 3, 4))
    ]
    assert rows == [{1}, {2}, {0}]
    assert module.probe_scans == [tiny_scan, other, another]
    assert stack_probes(module.probe_scans).shape == (3, 1, N, N)


def test_training_scans_of_equal_probes_keep_a_probe_each(tiny_scan: RawData) -> None:
    tiny = TinyModel()
    scans = [tiny_scan, dataclasses.replace(tiny_scan)]
    module = ScanDataModule(tiny.canonical(Path("a.npz")), tiny.execution_config, scans=scans)
    module.load()
    assert module.probe_scans == scans
    assert {int(item["scan"]) for item in module.training} == {0, 1}


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
    with pytest.raises(DataError, match=r"nphotons = 1000 .*measurement_domain to 'intensity'"):
        ScanDataModule(config, tiny.execution_config).load()

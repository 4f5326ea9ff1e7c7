"""What the settings of ptychodus decide in a training, and what is refused of them, with the reason."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.errors import ConfigError
from ptycho.raw_data import DataError, RawData
from ptycho_torch.api.base_api import ConfigManager, DataloaderFormats, PtychoDataLoader, PtychoModel
from ptycho_torch.api.base_api import Trainer as Door
from ptycho_torch.model import PtychoPINN_Lightning
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.client import manager, opened
from tests.torch.conftest import N


@pytest.fixture(autouse=True)
def _legacy_dictionary() -> Iterator[None]:
    with legacy_dictionary_restored():
        yield


def network(configs: ConfigManager) -> PtychoModel:
    return PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=configs)


def groups_of(trainer: Door) -> np.ndarray:
    return trainer._prepared.data.training.groups


def offsets(scan: RawData, groups: np.ndarray) -> np.ndarray:
    """From the centre of every group to its other members, in pixels (G, C - 1, 2)."""
    return scan.positions_px[groups[:, 1:]] - scan.positions_px[groups[:, :1]]


def test_the_configurations_of_a_loaded_model_are_its_own() -> None:
    model = network(manager(model={"batch_norm": True}))
    own = ConfigManager.from_loaded_model(model)
    assert own.model_config is model.module.model_config
    assert own.data_config.N == N
    own.validate_arch_compatibility(model)


def test_other_architectures_are_refused_field_by_field() -> None:
    model = network(manager())
    manager(model={"mode": "Supervised", "amp_loss_coeff": 3.0}).validate_arch_compatibility(model)
    other = manager({"N": 64}, {"n_filters_scale": 3, "eca_encoder": True})
    with pytest.raises(ValueError, match="Make them agree") as caught:
        other.validate_arch_compatibility(model)
    assert isinstance(caught.value, ConfigError)
    assert {failure.name for failure in caught.value.failures} == {
        "DataConfig.N",
        "ModelConfig.n_filters_scale",
        "ModelConfig.eca_encoder",
    }


def test_every_scan_of_the_folder_trains(tiny_scan: RawData, tmp_path: Path) -> None:
    tmp_path.joinpath("notes.txt").write_text("not a scan")
    other = dataclasses.replace(tiny_scan, holdout=None, probe=1.1 * tiny_scan.probe)
    other.to_file(tmp_path / "other.npz")
    trainer, _ = opened(tiny_scan, tmp_path, model={"num_datasets": 2})
    prepared = trainer._prepared
    assert [scan.path.name for scan in prepared.data.scans] == ["other.npz", "scan.npz"]
    assert set(prepared.data.training.scan_of_group) == {0, 1}
    assert len(prepared.module.model.probe) == 2
    with pytest.raises(ConfigError, match=r"num_datasets: .*2.*3"):
        opened(tiny_scan, tmp_path, model={"num_datasets": 3})


def test_centres_lie_within_the_bounds_along_rows(tiny_scan: RawData, tmp_path: Path) -> None:
    trainer, _ = opened(tiny_scan, tmp_path, data={"y_bounds": (0.5, 0.9)})
    rows = tiny_scan.positions_px[:, 0]
    share = (rows[groups_of(trainer)[:, 0]] - rows.min()) / np.ptp(rows)
    assert 0.49 < share.min() < share.max() < 0.91


def test_members_keep_their_distance(tiny_scan: RawData, tmp_path: Path) -> None:
    data = {
        "neighbor_function": "Min_dist",
        "min_neighbor_distance": 6.0,
        "max_neighbor_distance": 14.0,
        "K": 1,
    }
    trainer, _ = opened(tiny_scan, tmp_path, data=data)
    distance = np.linalg.norm(offsets(tiny_scan, groups_of(trainer)), axis=-1)
    assert 6 <= distance.min() < distance.max() <= 14


def test_four_quadrants_choose_from_their_own_number_of_neighbours(
    tiny_scan: RawData, tmp_path: Path
) -> None:
    farthest = []
    for number in (12, 60):
        data = {"neighbor_function": "4_quadrant", "K_quadrant": number, "K": 1}
        trainer, _ = opened(tiny_scan, tmp_path / str(number), data=data)
        members = offsets(tiny_scan, groups_of(trainer))
        quadrants = np.sort(2 * (members[..., 0] >= 0) + (members[..., 1] >= 0), axis=1)
        assert (np.diff(quadrants, axis=1) > 0).all()
        farthest.append(np.linalg.norm(members, axis=-1).max())
    assert farthest[0] < farthest[1]


@pytest.mark.parametrize(("K", "n_groups"), [(3, 66), (4, 7 * 70)])
def test_equal_groups_are_made_once(tiny_scan: RawData, tmp_path: Path, K: int, n_groups: int) -> None:
    trainer, _ = opened(tiny_scan, tmp_path, data={"n_subsample": 7, "K": K})
    groups = groups_of(trainer)
    assert len(groups) == pytest.approx(n_groups, rel=0.1)
    if K == 3:
        assert len(np.unique(groups[:, 0])) == len(groups)


def test_stages_have_their_own_share_that_validates(tiny_scan: RawData, tmp_path: Path) -> None:
    for staged, n_held in ((True, 21), (False, 4)):
        training = {"enable_staged_finetuning": staged, "finetune_val_split": 0.3}
        trainer, _ = opened(tiny_scan, tmp_path / str(staged), training=training)
        assert len(trainer._prepared.data.validation.groups) == pytest.approx(n_held, abs=1)


def test_name_notes_and_number_are_kept_with_the_run(tiny_scan: RawData, tmp_path: Path) -> None:
    labels = {"model_name": "siemens star", "notes": "second try"}
    configs = manager(training=labels, inference={"experiment_number": 7})
    dataclasses.replace(tiny_scan, holdout=None).to_file(tmp_path / "scan.npz")
    loader = PtychoDataLoader(tmp_path, configs, output_dir=tmp_path / "out")
    model = network(configs)
    Door._from_lightning(model=model, dataloader=loader, config_manager=configs)
    kept = json.loads((Path(loader.output_dir) / "config.json").read_text())["labels"]
    assert kept == labels | {"experiment_number": 7}
    assert model.module.training_config.model_name == "siemens star"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"ENABLE_CHECKPOINTING": "false"},
            "enable_checkpointing: expected True.*got False from .*PTYCHO_EXEC_ENABLE",
        ),
        (
            {"CHECKPOINT_SAVE_TOP_K": "0", "SAVE_LAST_CHECKPOINT": "false"},
            "checkpoint_save_top_k: expected another number.*got 0 from .*PTYCHO_EXEC_CHECKPOINT_SAVE_TOP_K",
        ),
        ({"NUM_WORKER": "2"}, "Did you mean PTYCHO_EXEC_NUM_WORKERS"),
    ],
)
def test_what_the_environment_spoils_is_refused_before_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for knob, value in variables.items():
        monkeypatch.setenv(f"PTYCHO_EXEC_{knob}", value)
    configs = manager()
    loader = PtychoDataLoader(tmp_path, configs, output_dir=tmp_path)  # without any scan
    with pytest.raises(ConfigError, match=message):
        Door._from_lightning(model=network(configs), dataloader=loader, config_manager=configs)


def test_the_last_checkpoint_alone_is_enough(
    tiny_scan: RawData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_CHECKPOINT_SAVE_TOP_K", "0")
    opened(tiny_scan, tmp_path)


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        ({}, {"edge_pad": 9}, "edge_pad: expected at most 8, a quarter of N = 32.*got 9"),
        (
            {"neighbor_function": "4_quadrant", "grid_size": (3, 3), "K": 12},
            {},
            "neighbor_function: expected Nearest or Min_dist with groups of 9 patterns.*2 x 2 grid",
        ),
        ({"K": 2}, {}, "neighbor_count: .*3"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused_with_the_reason(
    tiny_scan: RawData, tmp_path: Path, data: Any, model: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        opened(tiny_scan, tmp_path, data=data, model=model)


def test_a_band_that_is_not_used_is_not_asked_about(tiny_scan: RawData, tmp_path: Path) -> None:
    opened(tiny_scan, tmp_path, model={"edge_pad": 9, "probe_big": False})


def test_a_setting_without_effect_in_supervised_training_warns(tiny_scan: RawData, tmp_path: Path) -> None:
    known = dataclasses.replace(tiny_scan, object_guess=tiny_scan.object_truth)
    with pytest.warns(UserWarning, match=r"\bnormalize: Group "):
        opened(known, tmp_path, data={"normalize": "Group"}, model={"mode": "Supervised"})


def test_an_unknown_reader_is_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match=r"'lightning_only_module'.*'mlflow'"):
        DataloaderFormats("mlflow")


def test_too_few_positions_to_validate_on_name_the_variable(tiny_scan: RawData, tmp_path: Path) -> None:
    few = RawData.from_arrays(
        tiny_scan.patterns[:4], tiny_scan.positions_px[:4], tiny_scan.probe, domain="amplitude"
    )
    with pytest.raises(DataError, match=r"val_split: .*PTYCHO_EXEC_VAL_SPLIT"):
        opened(few, tmp_path)

"""The factory of a training: who wins, what is inferred, and what is recorded."""

import dataclasses
import itertools
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.data_error import DataError
from ptycho_torch.config_factory import (
    create_training_payload,
    inference_payload_of,
    populate_legacy_params,
    training_payload_of,
)
from tests.refusals import message
from tests.torch.factory_calls import save_scan, train

pytestmark = pytest.mark.usefixtures("legacy")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_scan(tmp_path / "scan.npz", nphotons=np.array(1e6))


# Training -----------------------------------------------------------------------------------------------------


def test_a_training_payload_is_complete(scan: Path):
    payload = train(scan, overrides={"gridsize": 2, "max_epochs": 3, "neighbor_count": 7, "num_workers": 2})
    config = payload.tf_training_config
    assert (config.model.N, config.model.gridsize, config.nepochs, config.nphotons) == (64, 2, 3, 1e6)
    assert (config.train_data_file, config.output_dir) == (scan, scan.parent / "out")
    assert (payload.pt_data_config.N, payload.pt_data_config.grid_size, payload.pt_data_config.C) == (
        64,
        (2, 2),
        4,
    )
    assert (payload.pt_model_config.C_model, payload.pt_model_config.C_forward) == (4, 4)
    assert (payload.pt_data_config.K, payload.pt_training_config.epochs) == (7, 3)
    assert payload.execution_config.num_workers == 2


def test_the_model_type_becomes_the_mode(scan: Path):
    assert train(scan, overrides={"model_type": "supervised"}).pt_model_config.mode == "Supervised"


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("max_epochs", 3, "nepochs", 3),
        ("epochs", 3, "nepochs", 3),
        ("K", 7, "neighbor_count", 7),
        ("mode", "Supervised", "model_type", "supervised"),
        ("loss_function", "MAE", "torch_loss_mode", "mae"),
    ],
)
def test_historical_words_are_overrides_too(name: str, value: Any, field: str, expected: Any, scan: Path):
    payload = train(scan, overrides={name: value})
    values = dataclasses.asdict(payload.tf_training_config) | dataclasses.asdict(
        payload.tf_training_config.model
    )
    assert values[field] == expected


def test_n_images_is_an_override_with_a_warning(scan: Path):
    with pytest.warns(DeprecationWarning, match="use n_groups"):
        payload = create_training_payload(scan, "out", {"n_images": 5})
    assert payload.tf_training_config.n_groups == 5


def test_an_override_must_not_be_given_under_two_names(scan: Path):
    text = message(lambda: train(scan, overrides={"epochs": 3, "nepochs": 4}))
    assert text == "nepochs: given twice, as epochs and as nepochs. Keep one of them."


def test_the_execution_configuration_is_never_none(scan: Path):
    assert train(scan).execution_config == PyTorchExecutionConfig()


def test_an_execution_configuration_given_is_used_and_overridden(scan: Path):
    given = PyTorchExecutionConfig(num_workers=3, learning_rate=0.1)
    payload = train(scan, execution_config=given, overrides={"learning_rate": 0.2})
    assert (payload.execution_config.num_workers, payload.execution_config.learning_rate) == (3, 0.2)
    assert payload.execution_config.sources["learning_rate"].shadowed[0].value == 0.1
    assert train(scan, execution_config=given).execution_config is given


def test_flags_for_a_resolved_execution_configuration_come_too_late(scan: Path):
    text = message(lambda: train(scan, execution_config=PyTorchExecutionConfig(), flags={"num_workers": 2}))
    assert text.startswith(
        "num_workers (flag --num-workers): the given execution configuration is already resolved."
    )


def test_an_execution_table_comes_too_late_too(scan: Path, tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("[execution]\nnum_workers = 2\n")
    text = message(lambda: train(scan, execution_config=PyTorchExecutionConfig(), file=file))
    assert text.startswith(f"num_workers ({file}:2): the given execution configuration is already resolved.")


def test_settings_that_are_all_at_hand_need_no_file_of_a_site(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PTYCHO_CONFIG", "nofile.toml")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    ready = PyTorchExecutionConfig.from_snapshot({})
    config = TrainingConfig(train_data_file="a.npz", n_groups=4)
    trained = training_payload_of(config, ready)
    assert trained.execution_config == ready
    inference_payload_of(InferenceConfig(model_path="a", test_data_file="b.npz", n_groups=4), trained)
    with pytest.raises(ConfigError, match=r"PTYCHO_CONFIG: nofile\.toml: no such file"):
        training_payload_of(config)


def test_a_size_that_only_a_file_states_does_not_stand_for_data_without_one(tmp_path: Path):
    path = tmp_path / "bare.npz"
    np.savez(path, nphotons=np.float64(2e6))
    (tmp_path / "run.toml").write_text("[model]\nN = 64\n[training]\nn_groups = 4\n")
    with pytest.raises(DataError):
        train(path, file=tmp_path / "run.toml")
    assert train(path, overrides={"N": 64}).tf_training_config.model.N == 64


def test_reconstruction_knobs_reach_the_backend(scan: Path):
    knobs = {"middle_trim": 32, "pad_eval": True, "reconstruction_window": 5}
    found = train(scan, overrides={**knobs, "batch_size": 9}).pt_inference_config
    assert (found.middle_trim, found.pad_eval, found.window, found.batch_size) == (32, True, 5, 9)
    assert train(scan, overrides={"inference_batch_size": 3}).pt_inference_config.batch_size == 3


def test_the_names_of_fields_and_knobs_are_apart():
    fields = [
        {field.name for field in dataclasses.fields(cls)}
        for cls in (ModelConfig, TrainingConfig, InferenceConfig)
    ]
    knobs = PyTorchExecutionConfig.model_fields.keys()
    assert all(not names & knobs for names in fields)
    assert not fields[0] & (fields[1] | fields[2])


# Who wins -----------------------------------------------------------------------------------------------------

LEVELS = ("override", "flag", "argument", "inferred", "file", "recipe", "cli-default")
PLACES = {
    "N": {"override": 32, "flag": "48", "inferred": 64, "file": 80, "cli-default": 96, "default": 64},
    "nphotons": {
        "override": 1e1,
        "flag": "1e2",
        "argument": 2e2,
        "inferred": 1e3,
        "file": 1e4,
        "recipe": 2e4,
        "cli-default": 1e5,
        "default": 1e9,
    },
}


@pytest.mark.parametrize(
    "levels", [levels for n in (0, 1, 2, len(LEVELS)) for levels in itertools.combinations(LEVELS, n)]
)
def test_the_strongest_level_that_speaks_wins(levels: tuple[str, ...], tmp_path: Path):
    spoken = {level: PLACES["nphotons"][level] for level in levels}
    scan = save_scan(tmp_path / "a.npz", **({"nphotons": spoken["inferred"]} if "inferred" in spoken else {}))
    for name in ("file", "recipe"):
        said = f"[training]\nnphotons = {spoken[name]}\n" if name in spoken else ""
        (tmp_path / f"{name}.toml").write_text(said)
    payload = train(
        scan,
        overrides={"nphotons": spoken["override"]} if "override" in spoken else {},
        flags={"nphotons": spoken["flag"]} if "flag" in spoken else {},
        arguments={"nphotons": spoken["argument"]} if "argument" in spoken else {},
        file=tmp_path / "file.toml",
        recipe=tmp_path / "recipe.toml",
        cli_defaults={"nphotons": spoken["cli-default"]} if "cli-default" in spoken else {},
    )
    winner, *beaten = [*(level for level in LEVELS if level in levels), "default"]
    origin = payload.sources["training.nphotons"]
    assert payload.tf_training_config.nphotons == float(PLACES["nphotons"][winner])
    assert origin.value == payload.tf_training_config.nphotons
    said = [_level(source) for source in (origin, *origin.shadowed)]
    assert said == [winner, *(level for level in beaten if level != "default")]


def _level(origin: Origin) -> str:
    return "flag" if origin.is_flag else origin.kind


def test_an_override_of_another_name_is_recorded_with_it(scan: Path):
    origin = train(scan, overrides={"max_epochs": 3}).sources["training.nepochs"]
    assert (str(origin), origin.value) == ("override max_epochs", 3)


def test_the_data_decide_n_unless_overruled(tmp_path: Path):
    scan = save_scan(tmp_path / "a.npz", n=128)
    assert train(scan).tf_training_config.model.N == 128
    assert train(scan, cli_defaults={"N": 64}).tf_training_config.model.N == 128
    assert train(scan, flags={"N": "32"}).tf_training_config.model.N == 32
    assert train(scan, flags={"N": "32"}, overrides={"N": 48}).tf_training_config.model.N == 48


@pytest.mark.parametrize("options", [{"overrides": {"N": 0}}, {"flags": {"N": "0"}}])
def test_n_zero_leaves_it_to_the_data(options: dict[str, Any], scan: Path):
    payload = train(scan, **options)
    assert payload.tf_training_config.model.N == 64
    assert payload.sources["model.N"].kind == "inferred"


@pytest.mark.parametrize(
    ("options", "origin"), [({"overrides": {"N": 128}}, "override"), ({"flags": {"N": "128"}}, "flag --N")]
)
def test_overruling_the_data_is_logged_with_both_values(
    options: dict[str, Any], origin: str, scan: Path, caplog: pytest.LogCaptureFixture
):
    train(scan, **options)
    assert f"model.N: 128 ({origin}) overrules 64 (the probe in {scan})" in caplog.text


def test_an_override_that_beats_a_flag_is_logged_with_both_values(
    scan: Path, caplog: pytest.LogCaptureFixture
):
    train(scan, overrides={"batch_size": 4, "num_workers": 1}, flags={"batch_size": "8", "num_workers": "2"})
    assert "training.batch_size: 4 (override) overrules 8 (flag --batch-size)" in caplog.text
    assert "num_workers: 1 (override) overrules 2 (flag --num-workers)" in caplog.text


def test_nothing_is_logged_where_all_agree(scan: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        train(scan, overrides={"N": 64, "batch_size": 8}, flags={"batch_size": "8"})
    assert caplog.text == ""


def test_a_run_file_fills_every_kind_of_configuration(scan: Path, tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("model: {gridsize: 2}\ntraining: {nepochs: 3}\nexecution: {num_workers: 2}\n")
    payload = train(scan, file=file)
    assert (payload.tf_training_config.model.gridsize, payload.tf_training_config.nepochs) == (2, 3)
    assert payload.execution_config.num_workers == 2
    assert payload.sources["model.gridsize"].locator == f"{file}:1"


def test_the_environment_reaches_the_knobs_but_no_canonical_field(
    scan: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "2")
    assert train(scan).execution_config.num_workers == 2


# The record ---------------------------------------------------------------------------------------------------


def test_every_canonical_field_has_a_source(scan: Path):
    payload = train(scan)
    fields = [f"model.{f.name}" for f in dataclasses.fields(ModelConfig)]
    fields += [f"data.{f.name}" for f in dataclasses.fields(DataConfig)]
    held = ("model", "data")
    fields += [f"training.{f.name}" for f in dataclasses.fields(TrainingConfig) if f.name not in held]
    assert sorted(payload.sources) == sorted(fields)


def test_the_audit_names_what_is_in_force_and_what_it_beat(scan: Path):
    payload = train(scan, overrides={"N": 128, "num_workers": 1}, flags={"num_workers": "2"})
    audit = payload.overrides_applied
    assert (audit["N"]["value"], audit["N"]["kind"]) == (128, "override")
    assert [beaten["value"] for beaten in audit["N"]["shadowed"]] == [64]
    assert (audit["num_workers"]["value"], audit["num_workers"]["shadowed"][0]["locator"]) == (
        1,
        "--num-workers",
    )
    assert set(audit) == {"N", "n_groups", "nphotons", "num_workers", "train_data_file", "output_dir"}


def test_a_warning_stands_at_the_line_of_the_caller_where_python_shows_it(scan: Path, tmp_path: Path):
    calls = f"""
from ptycho.config.config import ModelConfig
from ptycho_torch.cli.shared import resolve_accelerator
from ptycho_torch.config_bridge import to_training_config
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_params import DataConfig, ModelConfig as Network, TrainingConfig
create_training_payload({str(scan)!r}, "out", overrides={{"n_images": 20, "lr": 1e-3}})
to_training_config(ModelConfig(), DataConfig(), Network(), TrainingConfig(), {{"n_images": 3, "train_data_file": "a"}})
resolve_accelerator("auto", "cpu")
"""
    (tmp_path / "script.py").write_text(calls)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True
    )
    said = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert [line.partition("script.py:")[2] for line in said] == [
        "7: DeprecationWarning: n_images is an old name; use n_groups.",
        "7: DeprecationWarning: lr is an old name; use learning_rate.",
        "8: DeprecationWarning: n_images is an old name; use n_groups.",
        "9: DeprecationWarning: --device is deprecated; use --accelerator.",
    ]


def test_the_audit_is_json(scan: Path):
    payload = train(
        scan, overrides={"probe_scale": np.float32(2), "N": np.int64(64), "test_data_file": Path("t.npz")}
    )
    record = [payload.overrides_applied, {name: origin.to_dict() for name, origin in payload.sources.items()}]
    assert json.loads(json.dumps(record)) == record


def test_every_value_in_force_is_the_one_recorded(scan: Path):
    payload = train(scan, overrides={"nll_weight": 2})
    values = dataclasses.asdict(payload.tf_training_config)
    tables = {"model": values.pop("model"), "data": values.pop("data"), "training": values}
    values = {f"{table}.{k}": v for table, held in tables.items() for k, v in held.items()}
    assert {name: str(v) if isinstance(v, Path) else v for name, v in values.items()} == {
        name: origin.value for name, origin in payload.sources.items()
    }


def test_the_legacy_dictionary_is_filled_from_the_canonical_configuration(
    scan: Path, legacy: dict[str, object]
):
    train(scan, overrides={"gridsize": 2, "object_big": False, "num_workers": 2})
    assert (legacy["N"], legacy["gridsize"], legacy["object.big"]) == (64, 2, False)
    assert legacy["train_data_file_path"] == str(scan)
    assert not legacy.keys() & PyTorchExecutionConfig.model_fields.keys()


def test_populating_takes_canonical_configurations_only(legacy: dict[str, object]):
    with pytest.raises(TypeError, match="CONFIG-002"):
        populate_legacy_params(PyTorchExecutionConfig())
    assert legacy == {}


class _Beamline(TrainingConfig):
    shutter: str = "open"


def test_a_derived_training_is_taken_as_it_is():
    config = _Beamline(train_data_file="a.npz", n_groups=4, shutter="shut")
    payload = training_payload_of(config)
    assert payload.tf_training_config == config
    assert (payload.sources["training.shutter"].kind, payload.sources["training.nepochs"].kind) == (
        "argument",
        "default",
    )

"""The factories: who wins, what is inferred, what is recorded, and what is refused."""

import dataclasses
import itertools
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.raw_data import DataError
from ptycho_torch.config_factory import (
    create_inference_payload,
    create_training_payload,
    infer_probe_size,
    populate_legacy_params,
)
from tests.legacy_dictionary import legacy_dictionary_restored


@pytest.fixture(autouse=True)
def legacy() -> Iterator[dict[str, object]]:
    """The legacy dictionary, as it was again after the test."""
    with legacy_dictionary_restored() as found:
        yield found


def save_scan(path: Path, n: int = 64, **arrays: Any) -> Path:
    np.savez(path, probeGuess=np.ones((n, n), dtype=np.complex64), **arrays)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_scan(tmp_path / "scan.npz", nphotons=np.array(1e6))


def save_model(folder: Path, training: dict[str, Any] | None = None, **model: Any) -> Path:
    folder.mkdir(exist_ok=True)
    said = {"model": model, "training": {"batch_size": 4, **(training or {})}, "version": "9.9"}
    with zipfile.ZipFile(folder / "wts.h5.zip", "w") as archive:
        archive.writestr("config.json", json.dumps(said))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "run", N=64, gridsize=2, n_filters_scale=3, training={"nphotons": 1e4})


def train(scan: Path, **options: Any) -> Any:
    options["overrides"] = {"n_groups": 8} | options.get("overrides", {})
    return create_training_payload(scan, scan.parent / "out", **options)


def infer(model: Path, scan: Path, **options: Any) -> Any:
    options["overrides"] = {"n_groups": 8} | options.get("overrides", {})
    return create_inference_payload(model, scan, scan.parent / "out", **options)


def message(build: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        build()
    return str(caught.value)


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
    assert text == "nepochs: given twice (override), as epochs and as nepochs. Keep one of them."


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
    assert text.startswith("num_workers (flag): the execution configuration given is resolved already.")


def test_an_execution_table_comes_too_late_too(scan: Path, tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("[execution]\nnum_workers = 2\n")
    text = message(lambda: train(scan, execution_config=PyTorchExecutionConfig(), file=file))
    assert "[execution]: the execution configuration given is resolved already." in text


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

LEVELS = ("override", "flag", "inferred", "file", "cli-default")
PLACES = {
    "N": {"override": 32, "flag": "48", "inferred": 64, "file": 80, "cli-default": 96, "default": 64},
    "nphotons": {
        "override": 1e1,
        "flag": "1e2",
        "inferred": 1e3,
        "file": 1e4,
        "cli-default": 1e5,
        "default": 1e9,
    },
}


@pytest.mark.parametrize("levels", [levels for n in range(6) for levels in itertools.combinations(LEVELS, n)])
def test_the_strongest_level_that_speaks_wins(levels: tuple[str, ...], tmp_path: Path):
    spoken = {level: PLACES["nphotons"][level] for level in levels}
    scan = save_scan(tmp_path / "a.npz", **({"nphotons": spoken["inferred"]} if "inferred" in spoken else {}))
    (tmp_path / "run.toml").write_text(
        f"[training]\nnphotons = {spoken['file']}\n" if "file" in spoken else ""
    )
    payload = train(
        scan,
        overrides={"nphotons": spoken["override"]} if "override" in spoken else {},
        flags={"nphotons": spoken["flag"]} if "flag" in spoken else {},
        file=tmp_path / "run.toml",
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


def test_overruling_the_data_is_logged_with_both_values(scan: Path, caplog: pytest.LogCaptureFixture):
    train(scan, overrides={"N": 128})
    assert f"model.N: 128 (override) overrules 64 (the probe in {scan})" in caplog.text


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
    fields += [f"training.{f.name}" for f in dataclasses.fields(TrainingConfig) if f.name != "model"]
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


def test_the_audit_is_json(scan: Path):
    payload = train(
        scan, overrides={"probe_scale": np.float32(2), "N": np.int64(64), "test_data_file": Path("t.npz")}
    )
    record = [payload.overrides_applied, {name: origin.to_dict() for name, origin in payload.sources.items()}]
    assert json.loads(json.dumps(record)) == record


def test_every_value_in_force_is_the_one_recorded(scan: Path):
    payload = train(scan, overrides={"nll_weight": 2})
    values = dataclasses.asdict(payload.tf_training_config)
    values = {f"model.{k}": v for k, v in values.pop("model").items()} | {
        f"training.{k}": v for k, v in values.items()
    }
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


# What is wrong ------------------------------------------------------------------------------------------------


def test_missing_training_data_are_refused_with_the_path(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"Training data file not found: .*nowhere\.npz"):
        train(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("overrides", [None, {}, {"nepochs": 3}])
def test_n_groups_is_required(overrides: dict[str, Any] | None, scan: Path):
    assert "n_groups is required" in message(lambda: create_training_payload(scan, "out", overrides))


def test_n_groups_may_come_from_any_level(scan: Path, tmp_path: Path):
    (tmp_path / "run.toml").write_text("[training]\nn_groups = 3\n")
    assert create_training_payload(scan, "out", file=tmp_path / "run.toml").tf_training_config.n_groups == 3
    assert (
        create_training_payload(scan, "out", flags={"n_groups": "none"}).tf_training_config.n_groups is None
    )


def test_everything_wrong_is_reported_at_once(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "run.toml").write_text("[model]\ngridsize = 0\n")
    monkeypatch.setenv("PTYCHO_EXEC_PREFETCH_FACTOR", "many")
    text = message(
        lambda: create_training_payload(
            scan, "out", {"gridsiz": 2, "batch_size": 0}, flags={"nepochs": "x"}, file=tmp_path / "run.toml"
        )
    )
    for part in (
        "gridsiz: no such field or knob (override). Did you mean gridsize?",
        "training.batch_size: expected an integer >= 1; got 0 from override.",
        "training.nepochs: expected an integer >= 1; got 'x' from flag --nepochs.",
        f"model.gridsize: expected an integer >= 1; got 0 from {tmp_path / 'run.toml'}:2.",
        "n_groups is required",
        "PTYCHO_EXEC_PREFETCH_FACTOR",
    ):
        assert part in text


def test_a_wrong_value_is_reported_although_it_loses(scan: Path):
    assert "got -1 from command-line default" in message(
        lambda: train(scan, overrides={"nepochs": 3}, cli_defaults={"nepochs": -1})
    )


@pytest.mark.parametrize(
    ("name", "meant"), [("num_worker", "num_workers"), ("max_epoch", "max_epochs"), ("n", "N"), ("zzz", None)]
)
def test_an_unknown_name_is_refused_with_the_near_one(name: str, meant: str | None, scan: Path):
    text = message(lambda: train(scan, overrides={name: 3}))
    assert text == f"{name}: no such field or knob (override)." + (f" Did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"overrides": [1]}, "override: expected a mapping of names to values"),
        ({"overrides": {3: 4}}, "override: expected a mapping of names to values"),
        ({"overrides": {"mode": ["pinn"]}}, "training.n_groups: n_groups is required"),
        (
            {"execution_config": {"num_workers": 3}},
            "execution_config: expected a PyTorchExecutionConfig or none",
        ),
        ({"file": "nowhere.toml"}, "nowhere.toml: no such file"),
    ],
)
def test_a_request_of_the_wrong_kind_is_refused(options: dict[str, Any], complaint: str, scan: Path):
    assert complaint in message(lambda: create_training_payload(scan, "out", **options))


def test_no_data_are_not_found(scan: Path):
    with pytest.raises(FileNotFoundError, match="Training data file not found: expected a path; got None"):
        create_training_payload(None, "out", {"n_groups": 3})


def test_an_override_must_not_name_other_data_than_the_argument(scan: Path):
    assert "training.train_data_file: given twice" in message(
        lambda: train(scan, overrides={"train_data_file": "b"})
    )
    assert train(scan, flags={"train_data_file": str(scan)}).tf_training_config.train_data_file == scan


def test_a_failed_request_leaves_the_legacy_dictionary_alone(scan: Path, legacy: dict[str, object]):
    message(lambda: train(scan, overrides={"nepochs": 0}))
    assert legacy == {}


def test_middle_trim_is_at_most_the_patch(scan: Path):
    assert message(lambda: train(scan, overrides={"middle_trim": 65})).startswith(
        f"middle_trim: 65 (override) needs patches of 65 pixels or more; N is 64 (the probe in {scan})."
    )


def test_data_that_do_not_tell_n_need_it_stated(tmp_path: Path):
    scan = tmp_path / "a.npz"
    np.savez(scan, diff3d=np.ones((2, 64, 64)))
    with pytest.raises(DataError, match="probeGuess"):
        train(scan)
    assert train(scan, overrides={"N": 64}).tf_training_config.model.N == 64


def test_a_size_that_no_network_takes_is_refused_with_its_origin(tmp_path: Path):
    text = message(lambda: train(save_scan(tmp_path / "a.npz", n=50)))
    assert "model.N: expected a multiple of 16 from 32 up" in text
    assert "got 50 from the probe in" in text


def test_a_folder_of_scans_is_one_data_set(tmp_path: Path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("b.npz", "a.npz"):
        save_scan(folder / name, n=128, nphotons=np.array(1e5))
    payload = train(folder)
    assert (payload.tf_training_config.model.N, payload.tf_training_config.nphotons) == (128, 1e5)
    assert payload.sources["model.N"].locator == f"the probe in {folder / 'a.npz'}"


def test_scans_of_one_data_set_must_agree_unless_overruled(tmp_path: Path):
    save_scan(tmp_path / "a.npz", nphotons=np.array(1e5))
    save_scan(tmp_path / "b.npz", nphotons=np.array(1e6))
    with pytest.raises(
        DataError, match=r"nphotons: expected one value in a data set; got 100000.0 in .*a.npz"
    ):
        train(tmp_path)
    assert train(tmp_path, overrides={"nphotons": 2e5}).tf_training_config.nphotons == 2e5


def test_the_size_of_a_probe_is_public(scan: Path):
    assert infer_probe_size(scan) == 64


# Reconstruction -----------------------------------------------------------------------------------------------


def test_the_model_says_what_it_is(model: Path, scan: Path):
    payload = infer(model, scan)
    config = payload.tf_inference_config
    assert (config.model.N, config.model.gridsize, config.model.n_filters_scale) == (64, 2, 3)
    assert (config.model_path, config.test_data_file, config.n_groups) == (model, scan, 8)
    assert (payload.pt_data_config.C, payload.pt_model_config.C_model, payload.pt_data_config.n_groups) == (
        4,
        4,
        8,
    )
    assert payload.pt_data_config.nphotons == 1e4
    assert payload.sources["model.gridsize"].kind == "inferred"
    assert "version 9.9" in payload.sources["model.gridsize"].locator


def test_the_training_batch_size_is_that_of_reconstruction_unless_said(model: Path, scan: Path):
    assert infer(model, scan).pt_inference_config.batch_size == 4 * 2**2  # groups of 2 x 2 patterns
    assert infer(model, scan, overrides={"inference_batch_size": 7}).pt_inference_config.batch_size == 7


def test_the_archive_itself_may_be_named(model: Path, scan: Path):
    assert infer(model / "wts.h5.zip", scan).tf_inference_config.model.gridsize == 2


def test_the_model_beats_the_file_but_not_an_override(
    model: Path, scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "run.toml").write_text("[model]\ngridsize = 3\n[inference]\ndebug = true\n")
    config = infer(model, scan, file=tmp_path / "run.toml").tf_inference_config
    assert (config.model.gridsize, config.debug) == (2, True)
    assert infer(model, scan, overrides={"gridsize": 1}).tf_inference_config.model.gridsize == 1
    assert "model.gridsize: 1 (override) overrules 2 (config.json in" in caplog.text


def test_a_missing_model_is_refused_with_its_path(scan: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"Model archive not found: .*nowhere"):
        infer(tmp_path / "nowhere", scan)


def test_missing_test_data_are_refused_with_the_path(model: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"Test data file not found: .*nowhere\.npz"):
        infer(model, tmp_path / "nowhere.npz")


def test_a_reconstruction_needs_n_groups_too(model: Path, scan: Path):
    assert "inference.n_groups: n_groups is required" in message(
        lambda: create_inference_payload(model, scan, "out")
    )


def test_data_of_another_size_than_the_model_are_refused(model: Path, tmp_path: Path):
    scan = save_scan(tmp_path / "large.npz", n=128)
    text = message(lambda: infer(model, scan))
    assert (
        f"model.N: expected data of 64 pixels, as the model was trained on; got 128 from the probe in {scan}"
        in text
    )


def test_a_model_that_says_nothing_leaves_n_to_the_data(
    scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "wts.h5.zip").touch()
    assert infer(tmp_path, scan).tf_inference_config.model.N == 64
    assert "does not say what model it holds" in caplog.text


def test_a_model_of_a_newer_version_is_refused_by_field_and_version(scan: Path, tmp_path: Path):
    folder = save_model(tmp_path / "new", {"n_ghosts": 1}, N=64, n_ghosts=2)
    lines = message(lambda: infer(folder, scan)).splitlines()
    assert [line.split(":")[0] for line in lines] == ["training.n_ghosts", "model.n_ghosts"]
    assert all("written by version 9.9" in line for line in lines)


def test_the_legacy_dictionary_is_filled_for_a_reconstruction(
    model: Path, scan: Path, legacy: dict[str, object]
):
    infer(model, scan)
    assert (legacy["N"], legacy["gridsize"], legacy["test_data_file_path"]) == (64, 2, str(scan))


def test_what_a_training_writes_is_what_a_reconstruction_reads(scan: Path, tmp_path: Path):
    trained = train(scan, overrides={"gridsize": 2, "architecture": "cnn", "probe_trainable": True})
    config = dataclasses.asdict(trained.tf_training_config)
    said = config.pop("model")
    training = {name: str(value) if isinstance(value, Path) else value for name, value in config.items()}
    payload = infer(save_model(tmp_path / "run", training, **said), scan)
    assert payload.tf_inference_config.model == trained.tf_training_config.model
    assert payload.pt_model_config == trained.pt_model_config
    assert payload.pt_training_config == trained.pt_training_config

"""The canonical configurations read from files: run files, files of one configuration, plain YAML."""

import json
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.config import InferenceConfig, ModelConfig, TrainingConfig, load_yaml_config
from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from tests.refusals import meant, message, refused, told

WRITTEN = [
    TrainingConfig(ModelConfig(N=128), nepochs=3, n_groups=4, data=DataConfig(crop=64)),
    InferenceConfig(ModelConfig(gridsize=2), debug=True),
    SolverConfig(n_iterations=7),
    ModelConfig(N=96),
    DataConfig(bin=2),
]
RUN_FILES = {
    "run.toml": '[model]\nN = 128\n[training]\nplateau_min_lr = 5e-4\ntrain_data_file = "a.npz"\n',
    "run.yaml": "model: {N: 128}\ntraining:\n  plateau_min_lr: 5e-4\n  train_data_file: a.npz\n",
    "run.json": '{"model": {"N": 128}, "training": {"plateau_min_lr": 5e-4, "train_data_file": "a.npz"}}',
}


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_file_gives_the_same_training_in_every_format(name: str, tmp_path: Path):
    path = tmp_path / name
    path.write_text(RUN_FILES[name])
    expected = TrainingConfig(
        model=ModelConfig(N=128), plateau_min_lr=5e-4, train_data_file=tmp_path / "a.npz"
    )
    assert TrainingConfig.from_file(path) == expected


def test_a_run_file_may_say_how_to_reconstruct(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text("[inference]\ndebug = true\n[training]\nnepochs = 3\n[execution]\nnum_workers = 2\n")
    assert InferenceConfig.from_file(path) == InferenceConfig(debug=True)


def test_a_wrong_run_file_is_reported_with_file_line_and_text(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text('[model]\nN = 65\n[training]\nbatch_size = "many"\nnepoch = 3\nseed = 1\n')
    text = message(lambda: TrainingConfig.from_file(path))
    assert sorted(told(text)) == [
        ("model.N", f"{path}:2"),
        ("nepoch", f"{path}:5"),
        ("seed", f"{path}:6"),
        ("training.batch_size", f"{path}:4"),
    ]
    assert '    batch_size = "many"' in text
    assert meant(text) == ["nepochs", "[execution] seed"]


@pytest.mark.parametrize("text", ["nepochs = 3\nseed = 4\n", "nepochs = 3\nseed = 4\n[model]\nN = 128\n"])
def test_settings_outside_their_table_are_told_where_they_belong(text: str, tmp_path: Path):
    path = tmp_path / "flat.toml"
    path.write_text(text)
    said = message(lambda: TrainingConfig.from_file(path))
    assert told(said) == [("nepochs", f"{path}:1"), ("seed", f"{path}:2")]
    assert all(f" Put it into [{table}]." in said for table in ("training", "execution"))


@pytest.mark.parametrize("settings", WRITTEN, ids=lambda settings: type(settings).__name__)
@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_what_a_configuration_writes_is_a_run_file(suffix: str, settings: Any, tmp_path: Path):
    path = tmp_path / f"run.{suffix}"
    path.write_text(settings.to_toml() if suffix == "toml" else settings.to_yaml())
    assert type(settings).from_file(path) == settings
    answer = Request([type(settings)], file=path, environ={}).answer()
    values = {name: origin.value for name, origin in answer.sources.items()}
    for name, origin in settings.sources.items():
        table = section_of(type(settings)).table
        assert values[name if "." in name else f"{table}.{name}"] == origin.value
    assert answer.unused == ()


def test_a_blank_path_in_a_file_is_refused(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text("[training]\noutput_dir = '  '\n")
    wrong = refused(lambda: TrainingConfig.from_file(path))
    assert wrong == [("training.output_dir", f"{path}:2")]


def test_a_missing_run_file_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "nowhere.toml"
    assert refused(lambda: TrainingConfig.from_file(path)) == [(f"{path}",)]


@pytest.mark.parametrize("path", [None, 3])
def test_what_is_no_path_is_no_file(path: Any):
    assert refused(lambda: TrainingConfig.from_file(path)) == [("file",)]


def test_load_yaml_config_gives_plain_values(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("N: 64\nnested: {a: [1, 2.5, yes]}\n")
    assert load_yaml_config(path) == {"N": 64, "nested": {"a": [1, 2.5, True]}}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[1, 2]", "mapping"),
        ("a: 1\na: 2\n", "a"),
        ("a: !!python/object/apply:os.getcwd []\n", "a.yaml:1: "),
        ("\npassword: !foo hunter2\n", "a.yaml:2: "),
        ("\npassword: !!int hunter2\n", "a.yaml:2: "),
        ("a: 1\nb: [2, 2020-13-45]\n", "a.yaml:2: "),
        ("a: !!float hunter2\n", "a.yaml:1: "),
        ("a: !!bool hunter2\n", "a.yaml:1: "),
        ("a: !!timestamp hunter2\n", "a.yaml:1: "),
        ("a: !!binary hunter2\n", "a.yaml:1: "),
        ("a: !!int ''\n", "a.yaml:1: "),
        ("a: 0x\nb: 0b_\n? {c: 1}\n: 2\n", "a.yaml:"),
        (f"a: {'9' * 5000}\n", "a.yaml:1: "),
        (f"a: {'[' * 3000}{']' * 3000}\n", "a.yaml"),
        ("a: [1,\n", "valid YAML"),
        ("\n\x0b", "a.yaml:2: "),
    ],
)
def test_load_yaml_config_refuses_what_is_not_a_plain_mapping(content: str, complaint: str, tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    text = message(lambda: load_yaml_config(path))
    assert complaint in text
    assert "hunter2" not in text


# Settings of how a scan is read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "written", "expected"),
    [
        (SolverConfig, {"measurement_domain": "intensity", "holdout": 0.2}, ("intensity", 0.2)),
        (TrainingConfig, {"measurement_domain": "amplitude"}, ("amplitude", None)),
        (InferenceConfig, {"measurement_domain": "amplitude"}, ("amplitude", None)),
    ],
)
def test_domain_and_holdout_may_stand_in_the_table_data(tmp_path, cls, written, expected):
    """Beside the other settings of how a scan is read."""
    path = tmp_path / "beamline.json"
    path.write_text(json.dumps({"data": {"crop": 64, **written}}))
    request = Request([cls], file=path, environ={})
    answer = request.answer()
    found = answer[cls]
    assert (found.measurement_domain, getattr(found, "holdout", None)) == expected
    assert answer[DataConfig].crop == 64
    assert str(answer.resolution(cls).sources["measurement_domain"]) == f"{path}:1"
    assert answer.unused == ()
    assert cls.from_file(path).measurement_domain == expected[0]


def test_a_setting_in_the_table_data_is_checked_told_unused_and_refused_twice(tmp_path):
    path = tmp_path / "beamline.toml"
    path.write_text('[data]\nholdout = 2\n[solver]\nmeasurement_domain = "auto"\n')
    with pytest.raises(ConfigError, match=rf"solver.holdout: expected .*; got 2 from {path}:2"):
        Request([SolverConfig], file=path, environ={}).answer()
    path.write_text('[data]\nholdout = 0.2\nmeasurement_domain = "auto"\n')
    (told,) = Request([TrainingConfig], file=path, environ={}).answer().unused
    assert told == f"{path}: this run does not use [data] holdout."
    path.write_text('[data]\nmeasurement_domain = "auto"\n[solver]\nmeasurement_domain = "auto"\n')
    with pytest.raises(ConfigError, match=rf"given twice, as {path}:4 and as {path}:2"):
        Request([SolverConfig], file=path, environ={}).answer()


@pytest.mark.parametrize("name", ["patterns", "positions", "positions_x", "positions_y", "mask"])
@pytest.mark.parametrize("word", ["none", " NULL "])
def test_a_word_that_files_read_as_none_is_no_place(name: str, word: str):
    assert refused(lambda: DataConfig(**{name: word})) == [(f"data.{name}", "argument")]
    assert refused(lambda: setattr(DataConfig(), name, word)) == [(f"data.{name}", "assignment")]

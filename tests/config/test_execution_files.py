"""Files: three formats, flat or a table of a run file, and every way one can be wrong."""

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError
from tests.refusals import meant, told

FLAT = {
    "exec.toml": '# how to run\nnum_workers = 4\nlearning_rate = 5e-4\nlogger_backend = "none"\n',
    "exec.yaml": "# how to run\nnum_workers: 4\nlearning_rate: 5e-4\nlogger_backend: none\n",
    "exec.yml": "# how to run\nnum_workers: '4'\nlearning_rate: 0.0005\nlogger_backend: ~\n",
    "exec.json": '{\n"num_workers": 4,\n"learning_rate": 5e-4, "logger_backend": null\n}',
}
RUN = {
    "run.toml": "[training]\nnepochs = 3\nnum_workers = 9\n\n[execution]\nnum_workers = 4\n",
    "run.yaml": "training:\n  nepochs: 3\n  num_workers: 9\n\nexecution:\n  num_workers: 4\n",
    "run.json": '{"training":\n{"nepochs": 3,\n"num_workers": 9},\n"execution": {\n"num_workers": 4}}',
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(name: str, text: str) -> PyTorchExecutionConfig:
    Path(name).write_bytes(text.encode())
    return PyTorchExecutionConfig.from_file(name)


def refusal(name: str, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(name, text)
    return str(caught.value)


@pytest.mark.parametrize(("name", "text"), FLAT.items())
def test_a_flat_file_is_read_by_its_suffix(name: str, text: str):
    config = load(name, text)
    assert (config.num_workers, config.learning_rate, config.logger_backend) == (4, 5e-4, None)
    assert config.sources["num_workers"].locator == f"{name}:2"
    assert config.sources["num_workers"].raw == text.split("\n")[1].strip()


@pytest.mark.parametrize(("name", "text"), RUN.items())
def test_a_run_file_gives_its_execution_table(name: str, text: str):
    config = load(name, text)
    assert config.num_workers == 4
    assert config.sources["num_workers"].locator == f"{name}:{5 if name == 'run.json' else 6}"


def test_a_run_file_without_the_table_says_nothing():
    assert load("run.toml", "[training]\nnepochs = 3\n") == PyTorchExecutionConfig()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "execution:\n#  seed: 7\n"),
        ("run.json", '{"execution": null}'),
        ("run.toml", "[execution]\n"),
    ],
)
def test_a_table_whose_lines_are_comments_says_nothing(name: str, text: str):
    assert load(name, text) == PyTorchExecutionConfig()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "pin_memory = 1\ndeterministic = 0\n"),
        ("a.yaml", "pin_memory: 1\ndeterministic: 0\n"),
        ("a.json", '{"pin_memory": 1, "deterministic": 0}'),
    ],
)
def test_one_and_zero_are_true_and_false_of_a_switch(name: str, text: str):
    config = load(name, text)
    assert config.pin_memory is True
    assert config.deterministic is False


def test_an_argument_beats_the_file():
    Path("exec.toml").write_text("num_workers = 4\n")
    assert PyTorchExecutionConfig.from_file("exec.toml", num_workers=2).num_workers == 2


def test_a_byte_order_mark_and_windows_line_ends_are_read():
    config = load("exec.toml", "\ufeffseed = 3\r\nnum_workers = 4\r\n")
    assert config.sources["num_workers"].locator == "exec.toml:2"


@pytest.mark.parametrize(("name", "text"), [("a.toml", ""), ("a.yaml", "# nothing\n"), ("a.json", "{}")])
def test_a_file_may_be_silent(name: str, text: str):
    assert load(name, text) == PyTorchExecutionConfig()


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.toml", 'accelerator = "cpu" # """\nseed = 3', 2),
        ("a.toml", 'checkpoint_monitor_metric = """\\\n  val \\\n  seed = 1"""\nseed = 3', 4),
        ("a.toml", "execution.num_workers = 3\nexecution.seed = 4", 2),
        ("a.toml", "execution = {seed = 4}", 1),
        ("a.toml", '["execution"]\n"seed"=4', 2),
        ("a.json", '{"execution": {"num_workers": 1, "accelerator":"cpu",\n"se\\u0065d"\n: 4}}', 2),
        ("a.yaml", "{execution: {num_workers: 1,\n   seed: 4}}", 2),
    ],
)
def test_the_line_of_a_key_is_found_in_any_layout(name: str, text: str, line: int):
    assert load(name, text).sources["seed"].locator == f"{name}:{line}"


@pytest.mark.parametrize(
    ("name", "text", "culprit", "line"),
    [
        (
            "a.toml",
            'seed = 1\nnum_workers = "many"\n',
            ("num_workers", "a.toml:2"),
            'num_workers = "many"',
        ),
        ("a.yaml", "num_workers:\n", ("num_workers", "a.yaml:1"), "num_workers:"),
        ("a.toml", "num_worker = 3\n", ("num_worker", "a.toml:1"), ""),
        ("a.yaml", "api_key: hunter2", ("api_key", "a.yaml:1"), ""),
        ("a.toml", "[exection]\nseed = 1\n[model]\n", ("exection", "a.toml:1"), ""),
        ("a.toml", "seed = 1\n[execution]\n", ("seed", "a.toml:1"), "seed = 1"),
        ("a.yaml", "exection:\n  seed: 1\n", ("exection", "a.yaml:1"), ""),
        ("a.toml", "[execution]\nnepochs = 1\n", ("nepochs", "a.toml:2"), ""),
        ("a.yaml", "model: {}\nexecution: 3\n", ("execution", "a.yaml:2"), ""),
        ("a.json", '{"execution": []}', ("execution", "a.json:1"), ""),
        ("a.toml", "seed = 1\n\nseed = 2\n", ("seed", "a.toml:1", "a.toml:3"), "seed = 1"),
        ("a.yaml", "seed: 1\nseed: 2\n", ("seed", "a.yaml:1", "a.yaml:2"), "seed: 1"),
        (
            "a.json",
            '{"execution": {"seed": 1,\n"seed": 2}}',
            ("seed", "a.json:1", "a.json:2"),
            '"seed": 1,',
        ),
        ("a.yaml", "- seed\n", ("a.yaml",), ""),
        ("a.yaml", "seed\n", ("a.yaml",), ""),
        ("a.json", "3", ("a.json",), ""),
        ("a.json", "{,}", ("a.json:1",), ""),
        ("a.toml", "key = hunter2", ("a.toml:1",), ""),
        ("a.ini", "", ("a.ini",), ""),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_line(
    name: str, text: str, culprit: tuple[str, ...], line: str
):
    said = refusal(name, text)
    assert told(said)[0] == culprit
    quoted = [shown for shown in said.splitlines() if shown.startswith("    ")]
    assert quoted[:1] == ([f"    {line}"] if line else [])


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("num_worker = 3\n", "num_workers"),
        ("[exection]\nseed = 1\n[model]\n", "execution"),
        ("[execution]\nnepochs = 1\n", "[training] nepochs"),
    ],
)
def test_a_wrong_name_in_a_file_is_told_with_the_right_one(text: str, suggestion: str):
    assert meant(refusal("a.toml", text).splitlines()[0]) == [suggestion]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[" * 100_000),
        ("a.yaml", "[" * 10_000),
        ("a.yaml", "- " * 100_000),
        ("a.toml", "a = " + "[" * 100_000),
    ],
)
def test_deep_nesting_is_refused(name: str, text: str):
    assert "deep nesting" in refusal(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "seed: &a [*a]\n"),
        ("a.yaml", "? [1]\n: 2\n"),
        ("a.yaml", "a: 1\n---\nb: 2\n"),
        ("a.yaml", "\x01"),
        ("a.yaml", "seed: !!python/object/apply:os.getcwd []\n"),
        ("a.json", '{"seed": ' + "1" * 5000 + "}"),
        ("a.toml", "seed = " + "1" * 5000),
        ("a.toml", "seed = 2024-01-01"),
    ],
)
def test_odd_content_is_refused(name: str, text: str):
    assert refusal(name, text)


@pytest.mark.parametrize("path", ["absent.toml", "folder.toml", "nul\0.toml", 3, None, b"exec.toml"])
def test_what_cannot_be_read_is_refused(path: Any):
    Path("folder.toml").mkdir()
    with pytest.raises(ConfigError) as caught:
        PyTorchExecutionConfig.from_file(path)
    (failure,) = caught.value.failures
    assert failure.name == (path.replace("\0", "\\x00") if isinstance(path, str) else "file")


def test_bytes_that_are_no_text_are_refused():
    Path("a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"^a.toml: .*UTF-8"):
        PyTorchExecutionConfig.from_file("a.toml")


def test_origins_survive_pickling():
    config = load("exec.toml", FLAT["exec.toml"])
    assert pickle.loads(pickle.dumps(config)).sources == config.sources


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_a_dump_reads_back_equal(suffix: str):
    config = PyTorchExecutionConfig(
        num_workers=3,
        prefetch_factor=2,
        learning_rate=1e-300,
        logger_backend="csv",
        checkpoint_monitor_metric="\"loss\" \\ #1: 'x'",
    )
    dump = config.to_toml() if suffix == "toml" else config.to_yaml()
    assert load(f"exec.{suffix}", dump) == config


def test_a_dump_names_every_knob():
    config = PyTorchExecutionConfig()
    for dump in (config.to_toml(), config.to_yaml()):
        assert all(f"{name}" in dump for name in PyTorchExecutionConfig.model_fields)


@pytest.mark.parametrize("write", [PyTorchExecutionConfig.to_toml, PyTorchExecutionConfig.to_yaml])
def test_a_dump_says_what_each_knob_means_in_the_order_of_the_table(write: Any):
    config = PyTorchExecutionConfig(logger_backend="csv")
    text = write(config)
    names = re.findall(r"^#?(\w+)(?: =|:) ", text, re.MULTILINE)
    assert names == re.findall(r"^[* ] (\w+) ", config.explain(), re.MULTILINE)
    groups = re.findall(r"^# ---- (.+) ----$", text, re.MULTILINE)
    assert groups == re.findall(r"^\[(.+)\]$", config.explain(), re.MULTILINE)
    said = " ".join(text.replace("\n# ", " ").split())
    for name, field in PyTorchExecutionConfig.model_fields.items():
        assert re.search(rf" {re.escape(field.description or '')} #?{name}[ :]", said)
    assert all(len(line) <= 100 for line in text.splitlines())


def test_other_readers_of_yaml_take_none_for_none() -> None:
    config = PyTorchExecutionConfig()
    assert yaml.safe_load(config.to_yaml()) == config.to_dict()


def test_a_table_that_holds_only_comments_is_an_empty_one() -> None:
    assert load("run.yaml", "model:\n  # gridsize: 2\nexecution:\n") == PyTorchExecutionConfig()
    assert "seed: expected inside a table" in refusal("run.yaml", "execution:\nseed: 3\n")


def test_other_readers_of_yaml_take_our_numbers_for_numbers() -> None:
    config = PyTorchExecutionConfig(learning_rate=1e-9, gradient_clip_val=1e20)
    read = yaml.safe_load(config.to_yaml())
    assert (read["learning_rate"], read["gradient_clip_val"]) == (1e-9, 1e20)


@pytest.mark.parametrize("name", ["a.toml", "a.yaml", "a.json"])
@pytest.mark.parametrize("text", ["", " \n\n"])
def test_an_empty_file_sets_nothing(name: str, text: str):
    assert load(name, text) == PyTorchExecutionConfig()


def test_an_empty_table_sets_nothing():
    for name, text in (
        ("a.yaml", "execution:\n"),
        ("b.yaml", "execution: null"),
        ("a.json", '{"execution": null}'),
    ):
        assert load(name, text) == PyTorchExecutionConfig()


def test_the_version_that_wrote_a_file_is_named_with_what_is_unknown_here():
    snapshot = PyTorchExecutionConfig(seed=7).to_snapshot()
    assert load("a.json", json.dumps(snapshot)).seed == 7
    snapshot |= {"ptycho_version": "9.9", "knob_of_the_future": 1}
    said = refusal("b.json", json.dumps(snapshot))
    assert told(said) == [("knob_of_the_future", "b.json:1")]
    assert " ptychopinn 9.9;" in said


def test_an_array_of_tables_is_no_table():
    said = refusal("a.toml", "[model]\n[[execution]]\nnum_workers = 1\n")
    assert told(said) == [("execution", "a.toml:2")]
    assert " got a list " in said


def test_a_folder_is_no_file():
    Path("runs").mkdir()
    with pytest.raises(ConfigError, match=r"^runs: .*; got a folder\."):
        PyTorchExecutionConfig.from_file("runs")


def test_a_knob_given_twice_is_shown_with_its_values():
    said = refusal("a.toml", "seed = 1\nseed = 2\n")
    assert told(said) == [("seed", "a.toml:1", "a.toml:2")]
    assert said.splitlines()[1:] == ["    seed = 1", "    seed = 2"]


def test_an_old_name_in_a_file_is_named_with_its_place(recwarn: pytest.WarningsRecorder):
    warnings.simplefilter("always")
    load("a.toml", "lr = 0.1")
    assert re.fullmatch(r"lr \(a.toml:1\) .* learning_rate\.", str(recwarn.pop(DeprecationWarning).message))
    said = refusal("b.toml", "lr = 0.1\nlearning_rate = 0.1")
    assert told(said) == [("learning_rate", "b.toml:1", "b.toml:2")]
    assert said.splitlines()[1:] == ["    lr = 0.1", "    learning_rate = 0.1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "secret: hunter2\n"),
        ("a.yaml", "logger_token: hunter2\n"),
        ("a.json", '{"wandb_token": "hunter2", "num_workers": "many"}'),
        ("a.toml", 'execution = {num_workers="many", token="hunter2"}'),
        ("a.toml", "password = [\n  hunter2,\n]\n"),
        ("a.json", '{"tokens": [\n "key"\n "hunter2"\n]}'),
        ("a.yaml", "token: |\n\thunter2\n"),
        ("a.yaml", "execution: hunter2\n"),
        ("a.yaml", 'execution: "\\thunter2"\n'),
        ("a.toml", "[execution]\nnum_workers.token = 'hunter2'\n"),
    ],
)
def test_a_secret_in_a_file_is_never_repeated(name: str, text: str):
    assert "hunter2" not in refusal(name, text)


def test_the_line_of_an_unknown_name_is_not_quoted():
    assert refusal("a.toml", "num_worker = 4").endswith(" at a.toml:1. Did you mean num_workers?")


def test_the_raw_text_of_a_setting_leaves_out_its_neighbours_on_the_line(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('{"seed": 3, "num_workers": 2}')
    config = PyTorchExecutionConfig.from_file(path)
    assert config.sources["seed"].raw == '"seed": 3, ...'

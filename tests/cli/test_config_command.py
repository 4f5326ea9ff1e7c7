"""`ptycho config`: settings checked, written and compared without a run."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho_torch.cli.config_schema import schema
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.record import write_configuration
from tests.refusals import meant, told

Run = Callable[..., tuple[int, str, str]]
VARIABLES = {f"PTYCHO_EXEC_{name.upper()}" for name in PyTorchExecutionConfig.model_fields}
FORMATS = [(".toml", ()), (".yaml", ("--yaml",))]


@pytest.fixture(autouse=True)
def _in_an_empty_folder_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data() -> Path:
    """All that resolving a configuration reads of a scan."""
    path = Path("scan.npz")
    np.savez(path, probeGuess=np.ones((32, 32), dtype=np.complex64), nphotons=np.float64(2e6))
    return path


def saved_run(folder: str, data: Path, **overrides: object) -> Path:
    """A folder that holds what a training records of its settings."""
    payload = create_training_payload(data, folder, {"n_groups": None, **overrides})
    Path(folder).mkdir()
    write_configuration(
        Path(folder),
        payload.tf_training_config,
        payload.execution_config,
        payload.sources,
        payload.overrides_applied,
        {},
        [],
    )
    return Path(folder)


# check


def test_check_finds_what_does_not_go_together(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.toml").write_text("[training]\nlr_warmup_epochs = 2\n[inference]\nbackend = 'tensorflow'\n")
    assert [name for name, *_ in told(ptycho("config", "check", "run.toml")[2])] == ["inference.backend"]
    monkeypatch.setenv("PTYCHO_EXEC_SCHEDULER", "Adaptive")
    places = ("run.toml:2", "environment variable PTYCHO_EXEC_SCHEDULER")
    assert ("training.lr_warmup_epochs", *places) in told(ptycho("config", "check", "run.toml")[2])


def test_check_reports_every_mistake_of_every_file_and_the_environment(
    ptycho: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKER", "4")
    Path("a.toml").write_text("[training]\nnepochs = 0\nbatchsize = 3\n\n[execution]\nseed = 'x'\n")
    Path("b.yaml").write_text("- 1\n")
    code, shown, said = ptycho("config", "check", "a.toml", "b.yaml", "none.json")
    assert (code, shown) == (2, "")
    assert sorted(told(said)) == [
        ("PTYCHO_EXEC_NUM_WORKER",),
        ("b.yaml",),
        ("batchsize", "a.toml:3"),
        ("none.json",),
        ("seed", "a.toml:6"),
        ("training.nepochs", "a.toml:2"),
    ]
    assert sorted(meant(said)) == ["PTYCHO_EXEC_NUM_WORKERS", "batch_size"]


@pytest.mark.parametrize("files", [[], ["run.toml"]])
def test_a_strict_check_refuses_variables_that_set_no_knob(
    ptycho: Run, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run.toml").touch()
    monkeypatch.setenv("PTYCHO_EXEC_OF_MY_OWN", "hunter2")
    code, _, said = ptycho("config", "check", *files)
    assert (code, said.count("\n")) == (0, 1)
    assert said.startswith("warning: PTYCHO_EXEC_OF_MY_OWN: ")
    code, shown, strictly = ptycho("config", "check", "--strict", *files)
    assert (code, told(strictly)) == (2, [("PTYCHO_EXEC_OF_MY_OWN",)])
    assert "hunter2" not in shown + said + strictly


def test_check_gives_programs_the_failures_and_the_exit_code(ptycho: Run) -> None:
    Path("run.toml").write_text("[execution]\nseed = -1\n")
    code, shown, _ = ptycho("config", "check", "--json", "run.toml")
    assert code == 2
    (failure,) = json.loads(shown)["failures"]
    assert failure["name"] == "seed"


def test_a_check_reads_a_named_pipe_once(ptycho: Run) -> None:
    os.mkfifo("pipe.toml")
    script = "with open('pipe.toml', 'w') as pipe: pipe.write('[training]\\nnepochs = 3\\n')"
    with subprocess.Popen([sys.executable, "-c", script]):
        code, shown, said = ptycho("config", "check", "pipe.toml")
    assert (code, shown.splitlines()[0], said) == (0, "pipe.toml: no mistakes found", "")


# init and schema


@pytest.mark.parametrize(("recipe", "value"), [("none", "its default"), ("fast", "that of the recipe fast,")])
def test_a_new_file_tells_whose_values_it_shows(ptycho: Run, recipe: str, value: str) -> None:
    words = " ".join(ptycho("config", "init", "--recipe", recipe)[1].replace("\n# ", " ").split())
    assert f"unless you set it: {value}" in words


def test_a_new_file_tells_where_a_command_writes(ptycho: Run) -> None:
    folders = re.findall(r"in a command: (\S*NAME-OF-DATA)\.", ptycho("config", "init")[1])
    assert folders == [f"{place}/NAME-OF-DATA" for place in ("runs", "FOLDER-OF-MODEL", "reconstructions")]


@pytest.mark.parametrize(("suffix", "words"), FORMATS)
@pytest.mark.parametrize("edited", [False, True], ids=["as written", "every line set"])
def test_a_new_file_passes_its_check_and_means_what_a_command_takes_without_it(
    ptycho: Run, suffix: str, words: tuple[str, ...], edited: bool
) -> None:
    file = Path(f"run{suffix}")
    text = ptycho("config", "init", *words)[1]
    text, n_set = re.subn(r"^( *)#(?=\w)", r"\1", text, flags=re.MULTILINE) if edited else (text, 0)
    file.write_text(text)
    classes = (ModelConfig, TrainingConfig, InferenceConfig, SolverConfig, DataConfig)
    n_fields = sum(len(section_of(cls).fields) for cls in classes)
    assert n_set == (n_fields + len(PyTorchExecutionConfig.model_fields) if edited else 0)
    assert ptycho("config", "check", "--strict", file)[0] == 0
    for cls in (TrainingConfig, InferenceConfig, SolverConfig):
        model = () if cls is SolverConfig else (ModelConfig,)
        parts = (*model, cls, PyTorchExecutionConfig)
        found = Request(parts, file=file, recipe="none" if edited else "standard").answer()
        taken = Request(parts, recipe="standard").answer()
        if edited:  # a path in a file is one in its folder
            taken[cls].output_dir = taken[cls].output_dir.absolute()
        omitted = section_of(cls).recipe_omits  # which the file of a recipe's values states all the same
        compared = [part for part in parts if section_of(part).table not in omitted]
        assert [found[part] for part in compared] == [taken[part] for part in compared]
    assert all(len(line) <= 110 for line in text.splitlines())


def parsed(path: Path) -> object:
    import tomllib

    import yaml

    return tomllib.loads(path.read_text()) if path.suffix == ".toml" else yaml.safe_load(path.read_text())


def is_described(content: object) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(content)


def test_the_schema_is_a_schema_and_describes_every_setting(ptycho: Run) -> None:
    printed = json.loads(ptycho("config", "schema")[1])
    jsonschema.Draft202012Validator.check_schema(printed)
    for cls in (ModelConfig, TrainingConfig, InferenceConfig, SolverConfig):
        table = cls.__name__.removesuffix("Config").lower()
        assert printed["$defs"][table]["properties"].keys() == set(section_of(cls).names)


@pytest.mark.parametrize(("suffix", "words"), FORMATS)
def test_the_schema_accepts_files_that_we_write(ptycho: Run, suffix: str, words: tuple[str, ...]) -> None:
    file = Path(f"run{suffix}")
    file.write_text(ptycho("config", "init", *words)[1])
    assert is_described(parsed(file))
    file.write_text(re.sub(r"^( *)#(?=\w)", r"\1", file.read_text(), flags=re.MULTILINE))
    assert is_described(parsed(file))
    flat = PyTorchExecutionConfig(logger_backend="csv", prefetch_factor=2, num_workers=1)
    file.write_text(flat.to_yaml() if suffix == ".yaml" else flat.to_toml())
    assert is_described(parsed(file))


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": {"gridsize": 0}},
        {"model": {"gridsiz": 2}},
        {"modle": {}, "model": {}},
        {"training": {"optimizer": "addam"}},
        {"execution": {"num_workers": "many"}},
        {"execution": {"learning_rate": 0}},
        {"num_workers": -1},
        {"nepochs": 3},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(ptycho: Run, wrong: dict[str, object]) -> None:
    Path("run.json").write_text(json.dumps(wrong))
    assert ptycho("config", "check", "run.json")[0] == 2
    assert not is_described(wrong)


# env


def test_env_lists_every_knob_and_no_foreign_value(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_SEED", "7")
    monkeypatch.setenv("PTYCHO_EXEC_TOKEN", "hunter2")
    code, shown, said = ptycho("config", "env")
    assert code == 0
    assert re.search(r"^\* PTYCHO_EXEC_SEED +an integer >= 0.* 42 +7$", shown, re.MULTILINE)
    assert "PTYCHO_EXEC_TOKEN: no such setting." in shown
    listed = json.loads(ptycho("config", "env", "--json")[1])["variables"]
    assert {each["variable"] for each in listed} == {*VARIABLES, "PTYCHO_CONFIG"}
    assert [each["current"] for each in listed if each["current"] is not None] == ["7"]
    assert "hunter2" not in shown + said


# diff


def test_diff_of_two_runs_gives_what_differs(ptycho: Run, data: Path) -> None:
    first, second = saved_run("a", data, nepochs=2, num_workers=1), saved_run("b", data, nepochs=3)
    code, shown, _ = ptycho("config", "diff", first, second / "config.json", "--json")
    assert code == 0
    differ = {name: [side["value"] for side in sides] for name, sides in json.loads(shown)["differ"].items()}
    assert differ == {
        "training.nepochs": [2, 3],
        "training.output_dir": [str(Path(place).absolute()) for place in ("a", "b")],
        "execution.num_workers": [1, 0],
    }


def test_diff_of_a_run_and_a_file_names_what_only_one_has(ptycho: Run, data: Path) -> None:
    run = saved_run("a", data, num_workers=1)
    Path("knobs.toml").write_text("seed = 7\n")
    code, shown, _ = ptycho("config", "diff", run, "knobs.toml")
    assert code == 0
    assert re.search(r"^ *seed +42 \(default\) +7 \(knobs.toml:1\)$", shown, re.MULTILINE)
    assert shown.endswith("not compared, as only one of them has it: data, model, training\n")


def test_diff_compares_the_tables_that_a_file_has(ptycho: Run, data: Path) -> None:
    run = saved_run("a", data, nepochs=4)
    Path("run.toml").write_text("[training]\nnepochs = 3\n")
    shown = json.loads(ptycho("config", "diff", run, "run.toml", "--json")[1])
    assert "training.nepochs" in shown["differ"]
    left = ["model.N", "training.nphotons", "training.output_dir", "training.train_data_file"]
    assert shown["not_compared"] == left
    Path("run.toml").write_text("[execution]\nseed = 3\n[inference]\ndebug = true\n")
    shown = json.loads(ptycho("config", "diff", run, "run.toml", "--json")[1])
    assert shown["not_compared"] == ["inference", "training", "model.N"]


@pytest.mark.parametrize("recipe", ["standard", "own.toml", "none"])
def test_diff_of_a_file_and_its_run_shows_what_differs(ptycho: Run, data: Path, recipe: str) -> None:
    """A run whose recipe is no longer what it was."""
    Path("own.toml").write_text("[training]\nn_groups = 5\nnepochs = 9\nlr_warmup_epochs = 2\n")
    Path("run.toml").write_text("[training]\nn_groups = 8\nnepochs = 2\n[execution]\nseed = 3\n")
    payload = create_training_payload(data, "a", file="run.toml", recipe=recipe)
    Path("a").mkdir()
    write_configuration(
        Path("a"), payload.tf_training_config, payload.execution_config, payload.sources, {}, {}, []
    )
    Path("own.toml").unlink()
    left = "model.N, training.nphotons, training.output_dir, training.train_data_file"
    told = f"not compared, as only one of them has it: {left}\n"
    assert ptycho("config", "diff", "a", "run.toml") == (0, f"no differences\n{told}", "")
    Path("run.toml").write_text("[training]\nn_groups = 8\nnepochs = 4\n")
    shown = json.loads(ptycho("config", "diff", "run.toml", "a", "--json")[1])["differ"]
    adapted = {"training.lr_warmup_epochs"} if recipe == "own.toml" else set()
    assert shown.keys() == {"training.nepochs", "execution.seed", *adapted}


def test_a_run_is_checked_by_its_folder(ptycho: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = saved_run("a", data)
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    assert ptycho("config", "check", run) == (0, "a/config.json: no mistakes found\n", "")


@pytest.mark.parametrize(
    "text",
    [
        TrainingConfig(nepochs=3, n_groups=4).to_toml(),
        InferenceConfig(debug=True).to_toml(),
        SolverConfig(n_iterations=3).to_toml(),
        "nepochs = 3\n[model]\nN = 128\n",
        "nepochs = 3\n",
        "seed = 3\n",
        "[training]\nseed = 3\n",
    ],
)
def test_a_check_approves_what_a_command_takes(ptycho: Run, text: str) -> None:
    Path("a.toml").write_text(text)
    code, _, said = ptycho("config", "show", "train", "--config", "a.toml")
    checked = ptycho("config", "check", "a.toml")
    assert checked[0] == code
    assert {one for one in told(checked[2]) if one[0]} == ({*told(said)} if code else set())


def test_diff_of_equals_says_so_and_ignores_the_environment(
    ptycho: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.toml", "b.toml"):
        Path(name).write_text("[training]\nnepochs = 3\n")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    assert ptycho("config", "diff", "a.toml", "b.toml") == (0, "no differences\n", "")


# all of them


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["shwo"], ["shwo"]),
        (["show", "demo"], ["demo"]),
        (["diff", "a.toml", "b.toml"], ["a.toml", "b.toml"]),
        (["diff", "", " "], ["RUN_OR_FILE", "RUN_OR_FILE"]),
        (["check", ""], ["''"]),
        (["check", "nowhere"], ["nowhere"]),
        (["diff", ".", "."], ["."]),
    ],
)
def test_wrong_words_are_refused(ptycho: Run, words: list[str], names: list[str]) -> None:
    code, out, said = ptycho("config", *words)
    assert (code, out, [name for name, *_ in told(said)]) == (2, "", names)


@pytest.mark.parametrize("text", ['{"origins": {"model.N": 3}}', '{"configuration": 3, "origins": {}}'])
def test_a_config_json_of_something_else_is_refused(ptycho: Run, text: str) -> None:
    Path("config.json").write_text(text)
    code, _, said = ptycho("config", "diff", "config.json", "config.json")
    assert code == 2
    assert said.startswith("ptycho config: config.json: ")


@pytest.mark.parametrize("words", [["show", "train"], ["env"], ["diff", "a.toml", "b.toml"]])
def test_a_terminal_shows_a_table_and_a_pipe_plain_text(
    ptycho: Run, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.toml").write_text("[execution]\nlogger_backend = 'csv'\n")
    Path("b.toml").write_text("[execution]\nlogger_backend = 'wandb'\n")
    assert "\x1b[" not in ptycho("config", *words)[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = ptycho("config", *words)[1]
    assert "\x1b[" in shown
    assert "logger_backend" in shown.lower()


def test_a_narrow_terminal_cuts_nothing_off(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    shown = ptycho("config", "show", "train")[1]
    assert set(PyTorchExecutionConfig.model_fields) <= set(shown.split())
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_no_action_loads_torch() -> None:
    script = (
        "import sys; from ptycho_torch.cli.main import main\n"
        "for words in ('config show train', 'config check', 'config init', 'config schema', 'config env',\n"
        "              'completion bash', 'completion fish'):\n"
        "    assert main(words.split()) == 0\n"
        "assert not {'torch', 'lightning'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    script = "import sys; from ptycho_torch.cli.main import main; sys.exit(main(['config', 'schema']))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        reader.stdout.close()
        said = reader.stderr.read()
    assert (reader.returncode, said) == (141, "")


def test_the_record_of_a_run_is_checked_free_of_the_environment(
    ptycho: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads((trained / "config.json").read_text())
    Path("config.json").write_text(json.dumps(record))
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    assert ptycho("config", "check", "config.json")[:2] == (0, "config.json: no mistakes found\n")
    record["execution"] |= {"num_workers": -1}
    record["configuration"]["model"]["gridsize"] = 9
    record["configuration"]["warp"] = 1
    Path("config.json").write_text(json.dumps(record))
    code, _, said = ptycho("config", "check", "config.json")
    assert code == 2
    assert {name for name, *_ in told(said)} >= {"num_workers", "training.warp"}
    record["execution"]["num_workers"] = 0
    Path("config.json").write_text(json.dumps(record))
    code, _, said = ptycho("config", "check", "config.json")
    assert code == 2
    assert "warp: no such setting at config.json." in said
    assert "gridsize is 9 (config.json)" in said


@pytest.mark.parametrize("damage", [{"configuration": {"model": None}}, {"versions": 5}])
def test_a_damaged_record_is_refused_by_name(damage: dict[str, Any], ptycho: Run) -> None:
    record = {"configuration": {}, "execution": {}, "origins": {}} | damage
    Path("config.json").write_text(json.dumps(record))
    code, _, said = ptycho("config", "check", "config.json")
    assert code == 2
    assert said.startswith("ptycho config: config.json: ")
    assert all(name in said for name in damage)


def test_a_blank_variable_of_any_name_is_unset(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKER", " ")
    assert ptycho("config", "check")[0] == 0


def test_a_file_may_state_its_version_by_the_schema(ptycho: Run) -> None:
    printed = json.loads(ptycho("config", "schema")[1])
    jsonschema.validate({"ptycho_version": "0.1.0", "seed": 3}, printed)
    jsonschema.validate({"ptycho_version": "0.1.0", "execution": {"seed": 3}}, printed)


def test_names_that_the_output_cannot_spell_are_no_failure(tmp_path: Path) -> None:
    name = "n\u00e4me.toml"
    (tmp_path / name).write_text("seed = 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "ptycho_torch", "config", "check", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "n\\xe4me.toml: no mistakes found")


def test_env_says_what_is_wrong_with_a_variable(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "abc")
    code, shown, _ = ptycho("config", "env")
    last = shown.splitlines()[-1]
    assert (code, told(last)) == (0, [("num_workers", "environment variable PTYCHO_EXEC_NUM_WORKERS")])
    (failure,) = json.loads(ptycho("config", "env", "--json")[1])["failures"]
    assert failure == {"name": "num_workers", "message": last}


def test_env_lists_the_files_of_a_site(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_CONFIG", "gone.toml")
    told_of = json.loads(ptycho("config", "env", "--json")[1])
    assert (told_of["variables"][-1]["variable"], told_of["variables"][-1]["current"]) == (
        "PTYCHO_CONFIG",
        "gone.toml",
    )
    assert [failure["name"] for failure in told_of["failures"]] == ["gone.toml"]


def test_a_check_of_very_many_tables_takes_less_than_a_second(ptycho: Run) -> None:
    Path("a.json").write_text(json.dumps({"model": {}} | {f"table_{n}": {} for n in range(200_000)}))
    started_s = time.process_time()
    assert ptycho("config", "check", "a.json")[0] == 2
    assert time.process_time() - started_s < 1

"""Paths of settings: what they are relative to, and what stands for a folder in them."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.paths import PathError, expanded
from ptycho.config.request import Request
from tests.refusals import message, refused, told

SECTIONS = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)
PARTS = {
    "$SCRATCH": "/scratch/me",
    "${SCRATCH}": "/scratch/me",
    "$A_1": "a",
    "${A_1}": "a",
    "$$": "$",
    "$$A_1": "$A_1",
    "$$$A_1": "$a",
    "$${A_1}": "${A_1}",
}
"""What is written -> what it stands for."""
WORDS = ("runs", "a b", "/", ".", "..", "-", "$", "~", "%", "$ ", "$1")


class Cluster(PyTorchExecutionConfig):
    """Settings with a path that a variable may set."""

    scratch: Path | None = None


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("A_1", "a")
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.chdir(tmp_path)


@example(["~", "/", "$A_1"])
@example(["$A_1", "/", "~"])
@given(st.lists(st.sampled_from([*PARTS, *WORDS]), min_size=1, max_size=6))
def test_variables_and_home_are_replaced_and_nothing_else(parts: list[str]):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", "/users/me"), ("SCRATCH", "/scratch/me"), ("A_1", "a")):
            patch.setenv(name, value)
        written = "/".join(parts)
        meant = "/".join(PARTS.get(part, part) for part in parts)
        if meant.startswith("~"):
            meant = "/users/me" + meant[1:]
        assert expanded(written) == meant
        assert expanded(written, "/folder") == str(Path("/folder", meant))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("$GONE/x", r"\bGONE\b"),
        ("a/${GONE}", r"\bGONE\b"),
        ("${EMPTY}/runs", r"\bEMPTY\b"),
        ("${GONE:-x}", re.escape("$NAME or ${NAME}")),
        ("~nobody-of-this-name/x", "~nobody-of-this-name"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_it(written: str, said: str):
    with pytest.raises(PathError, match=said):
        expanded(written)


def test_a_relative_path_in_a_file_is_relative_to_its_folder(tmp_path: Path):
    for name in ("site", "mine"):
        (tmp_path / name).mkdir()
    Path("site/run.toml").write_text("[training]\ntrain_data_file = 'scan.npz'\noutput_dir = '../runs'\n")
    Path("mine/run.yaml").write_text("training:\n  output_dir: out\n")
    request = Request(SECTIONS, file=["site/run.toml", "mine/run.yaml"])
    config = request.answer()[TrainingConfig]
    assert config.train_data_file == tmp_path / "site/scan.npz"
    assert config.output_dir == tmp_path / "mine/out"
    assert config.sources["output_dir"].raw == "output_dir: out"
    assert config.sources["output_dir"].shadowed[0].value == str(tmp_path / "site/../runs")
    assert TrainingConfig.from_file("site/run.toml").train_data_file == tmp_path / "site/scan.npz"


def test_elsewhere_it_is_relative_to_the_working_directory(monkeypatch: pytest.MonkeyPatch):
    answer = Request(SECTIONS, flags={"output_dir": "out"}, overrides={"test_data_file": "a.npz"}).answer()
    config = answer[TrainingConfig]
    assert (config.output_dir, config.test_data_file) == (Path("out"), Path("a.npz"))
    monkeypatch.setenv("PTYCHO_EXEC_SCRATCH", "tmp")
    assert Cluster().scratch == Path("tmp")


@pytest.mark.parametrize("folder", ["no\u00a0break", "soft\u00ad", "bell\x07"])
def test_a_path_in_a_folder_whose_name_does_not_print_is_relative_to_it(folder: str, tmp_path: Path):
    Path(folder).mkdir()
    Path(folder, "run.toml").write_text("[training]\noutput_dir = 'runs'\n")
    for levels in ({"file": Path(folder, "run.toml")}, {"recipe": Path(folder, "run.toml")}):
        answer = Request(SECTIONS, **levels).answer()
        assert answer[TrainingConfig].output_dir == Path.cwd() / folder / "runs"
        assert str(answer.sources["training.output_dir"]).isprintable()


def test_home_and_variables_are_replaced_in_files_flags_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Path("run.json").write_text('{"training": {"output_dir": "~/runs", "train_data_file": "$SCRATCH/a.npz"}}')
    answer = Request(SECTIONS, file="run.json", flags={"test_data_file": "${A_1}/b.npz"}).answer()
    config = answer[TrainingConfig]
    assert config.output_dir == Path("/users/me/runs")
    assert config.train_data_file == Path("/scratch/me/a.npz")
    assert config.test_data_file == Path("a/b.npz")
    assert answer.sources["training.test_data_file"].raw == "${A_1}/b.npz"
    monkeypatch.setenv("PTYCHO_EXEC_SCRATCH", "$SCRATCH/x")
    assert Cluster().scratch == Path("/scratch/me/x")
    Path("cluster.toml").write_text("scratch = '~'\n")
    assert Cluster.resolve(file="cluster.toml", environ={}).scratch == Path("/users/me")
    monkeypatch.delenv("PTYCHO_EXEC_SCRATCH")
    monkeypatch.setenv("PTYCHO_CONFIG", "$A_1/site.toml:~/site.toml")
    files = [line.split(": ")[:2] for line in message(PyTorchExecutionConfig).splitlines()]
    assert files == [["PTYCHO_CONFIG", "/users/me/site.toml"], ["PTYCHO_CONFIG", "a/site.toml"]]


def test_other_text_and_values_from_python_stay_as_they_are():
    Path("run.toml").write_text("checkpoint_monitor_metric = '$SCRATCH'\n")
    assert PyTorchExecutionConfig.from_file("run.toml").checkpoint_monitor_metric == "$SCRATCH"
    config = TrainingConfig(output_dir="~/$SCRATCH")
    assert config.output_dir == Path("~/$SCRATCH")
    override = Request(SECTIONS, overrides={"output_dir": "~/$GONE"}).answer()[TrainingConfig]
    assert override.output_dir == Path("~/$GONE")
    assert Cluster(scratch=Path("~")).scratch == Path("~")


def test_a_variable_that_is_not_set_is_reported_with_its_place_and_all_else(monkeypatch: pytest.MonkeyPatch):
    Path("run.toml").write_text("[training]\noutput_dir = '$GONE/runs'\nnepochs = 0\n")
    found = message(
        lambda: Request(
            SECTIONS, file="run.toml", flags={"test_data_file": "$GONE/b", "output_dir": "x"}
        ).answer()
    )
    assert told(found) == [
        ("training.test_data_file", "flag --test-data-file"),
        ("training.output_dir", "run.toml:2"),
        ("training.nepochs", "run.toml:3"),
    ]
    assert found.count(" GONE ") == 2
    assert "\n    output_dir = '$GONE/runs'\n" in found
    monkeypatch.setenv("PTYCHO_EXEC_SCRATCH", "$GONE")
    assert refused(Cluster) == [("scratch", "environment variable PTYCHO_EXEC_SCRATCH")]


def test_what_is_written_means_the_same_place_wherever_the_file_lies(tmp_path: Path):
    config = InferenceConfig(model_path="model", test_data_file="/data/a.npz")
    (tmp_path / "below").mkdir()
    for suffix, text in (("toml", config.to_toml()), ("yaml", config.to_yaml())):
        path = tmp_path / "below" / f"a.{suffix}"
        path.write_text(text)
        assert InferenceConfig.from_file(path) == config.replace(model_path=tmp_path / "model")


def test_a_path_that_is_no_text_is_refused_by_every_writer_of_files():
    config = TrainingConfig(train_data_file="/data/\udcff.npz")
    for write in (config.to_toml, config.to_yaml):
        assert refused(write) == [("train_data_file",)]


def test_variables_in_paths_are_of_the_environment_that_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    environ = {"SCRATCH": "/here", "PTYCHO_EXEC_SCRATCH": "$SCRATCH/a"}
    assert Cluster.resolve(environ=environ).scratch == Path("/here/a")
    assert Cluster.resolve(environ=environ, flags={"scratch": "$SCRATCH/b"}).scratch == Path("/here/b")
    Path("a.toml").write_text("scratch = '$SCRATCH/c'\n")
    Path("run.toml").write_text("[training]\noutput_dir = '$SCRATCH/d'\ntest_data_file = '$A_1'\n")
    here = {"SCRATCH": "/here"}
    only = {**here, "PTYCHO_CONFIG": "$DIR/a.toml", "DIR": str(tmp_path)}
    assert Cluster.resolve(environ=here, file="a.toml").scratch == Path("/here/c")
    assert Cluster.resolve(environ=here, recipe="./a.toml").scratch == Path("/here/c")
    assert Cluster.resolve(environ=only).scratch == Path("/here/c")
    said = message(lambda: Request(SECTIONS, file="run.toml", environ=here).answer())
    assert told(said) == [("training.test_data_file", "run.toml:3")]
    answer = Request(SECTIONS, file="run.toml", environ={**here, "A_1": "b"}).answer()
    config = answer[TrainingConfig]
    assert (config.output_dir, config.test_data_file) == (Path("/here/d"), tmp_path / "b")

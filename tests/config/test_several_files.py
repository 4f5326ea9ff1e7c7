"""Configuration files that compose: the last one is strongest, and those of PTYCHO_CONFIG are below all others."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError
from ptycho.config.request import Request
from tests.refusals import message, refused, told

CLASSES = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)
VARIABLE = "PTYCHO_CONFIG"
KNOBS = ("seed", "num_workers", "accum_steps")
CONTENTS = st.dictionaries(st.sampled_from(KNOBS), st.integers(0, 3))
"""Of a flat file; 0 is wrong for accum_steps."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "site.toml"
    path.write_text("[training]\nnepochs = 7\n[execution]\nseed = 1\nnum_workers = 2\n")
    monkeypatch.setenv(VARIABLE, "site.toml")
    return path


def written(folder: Path, stem: str, contents: list[dict[str, int]]) -> list[str]:
    paths = [folder / f"{stem}{number}.toml" for number, _ in enumerate(contents)]
    for path, content in zip(paths, contents, strict=True):
        path.write_text("".join(f"{name} = {value}\n" for name, value in content.items()))
    return [str(path) for path in paths]


@given(st.lists(CONTENTS, max_size=3), st.lists(CONTENTS, max_size=2), st.booleans())
def test_the_last_file_that_speaks_wins_and_every_mistake_is_reported(
    folder: Path, named: list[dict[str, int]], of_site: list[dict[str, int]], as_request: bool
):
    files, ambient = written(folder, "named", named), written(folder, "site", of_site)
    environ = {VARIABLE: os.pathsep.join(ambient)}
    said = [*zip([*ambient, *files], [*of_site, *named], strict=True)][::-1]
    wrong = {
        f"{path}:{[*content].index('accum_steps') + 1}"
        for path, content in said
        if content.get("accum_steps") == 0
    }

    def load() -> PyTorchExecutionConfig:
        if as_request:
            return Request(CLASSES, file=files, environ=environ).answer()[PyTorchExecutionConfig]
        return PyTorchExecutionConfig.resolve(file=files, environ=environ)

    if wrong:
        with pytest.raises(ConfigError) as caught:
            load()
        assert len(caught.value.failures) == len(wrong)
        assert {place for place in wrong if f"from {place}." in str(caught.value)} == wrong
        return
    config = load()
    for name in KNOBS:
        levels = [
            (content[name], f"{path}:{[*content].index(name) + 1}")
            for path, content in said
            if name in content
        ]
        origin = config.sources[name]
        found = [(one.value, one.locator) for one in (origin, *origin.shadowed) if one.kind == "file"]
        assert found == levels
        assert not levels or getattr(config, name) == levels[0][0]


def test_a_flat_file_and_run_files_compose_at_every_door(site: Path, tmp_path: Path):
    (tmp_path / "mine.toml").write_text("num_workers = 3\n")
    (tmp_path / "last.toml").write_text("[training]\nbatch_size = 5\n[execution]\nseed = 9\n")
    files = ["mine.toml", tmp_path / "last.toml"]
    answer = Request(CLASSES, file=files).answer()
    execution = answer[PyTorchExecutionConfig]
    assert execution == PyTorchExecutionConfig.from_file(files) == PyTorchExecutionConfig.resolve(file=files)
    assert (execution.seed, execution.num_workers) == (9, 3)
    assert (answer[TrainingConfig].nepochs, answer[TrainingConfig].batch_size) == (7, 5)
    assert str(answer.sources["training.nepochs"]) == "site.toml:2"
    assert str(execution.sources["num_workers"].shadowed[0]) == "site.toml:5"


def test_canonical_files_compose_without_the_environment(site: Path, tmp_path: Path):
    (tmp_path / "a.toml").write_text("[training]\nbatch_size = 3\nnepochs = 4\n[model]\nN = 128\n")
    (tmp_path / "b.toml").write_text("[training]\nnepochs = 2\n")
    config = TrainingConfig.from_file(["a.toml", "b.toml"])
    assert (config.batch_size, config.nepochs, config.model.N) == (3, 2, 128)
    assert [str(one) for one in config.sources["nepochs"].shadowed] == ["a.toml:3"]
    assert InferenceConfig.from_file([]) == InferenceConfig()


def test_the_environment_beats_the_files_of_a_site_and_they_beat_defaults(
    site: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PTYCHO_EXEC_SEED", "4")
    config = PyTorchExecutionConfig(num_workers=5)
    assert (config.seed, config.num_workers) == (4, 5)
    assert [str(one) for one in config.sources["seed"].shadowed] == ["site.toml:4"]


def test_what_was_saved_never_reads_them(site: Path):
    site.write_text("no file of settings")
    plain = PyTorchExecutionConfig.from_snapshot({})
    assert plain == PyTorchExecutionConfig.model_validate({})
    assert plain.replace(seed=3).num_workers == 0
    record = {"configuration": {"train_data_file": None}, "execution": {"seed": 5}, "origins": {}}
    assert Request.of_record(record, "config.json").answer()[PyTorchExecutionConfig].num_workers == 0


def test_settings_that_are_ready_are_not_given_again_by_a_site(site: Path):
    ready = PyTorchExecutionConfig.from_snapshot({"seed": 8})
    request = Request(CLASSES)
    assert request.answer({PyTorchExecutionConfig: ready})[PyTorchExecutionConfig] == ready
    assert request.answer()[TrainingConfig].nepochs == 7


def test_a_file_of_a_site_that_is_missing_is_named_with_the_variable(
    site: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, os.pathsep.join(["", "site.toml", " gone.toml "]))
    for load in (PyTorchExecutionConfig, lambda: Request(CLASSES).answer()):
        text = message(load)
        assert len(told(text)) == 1
        assert text.startswith("PTYCHO_CONFIG: gone.toml: ")
    monkeypatch.setenv(VARIABLE, " ")
    assert PyTorchExecutionConfig().seed == 42


def test_all_files_that_cannot_be_read_are_reported_together(tmp_path: Path):
    files = [tmp_path / "a.toml", tmp_path / "b.txt"]
    wrong = refused(lambda: Request(CLASSES, file=files, overrides={"seed": -1}).answer())
    assert wrong == [*((f"{path}",) for path in files), ("seed", "override")]
    assert refused(lambda: PyTorchExecutionConfig.from_file([3])) == [("file",)]  # type: ignore[list-item]

"""A setting in a file that a command does not use is named, once."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho.simulation import simulate_scan
from ptycho_torch.config_factory import create_training_payload
from tests.torch.factory_calls import save_model, save_scan

Run = Callable[..., tuple[int, str, str]]

FILE = """[training]
n_groups = 8
[inference]
n_groups = 8
debug = true
[solver]
n_iterations = 5
[execution]
seed = 3
learning_rate = 0.1
num_workers = 0
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "site.toml"):
        Path(name).write_text(FILE)
    monkeypatch.setenv("PTYCHO_CONFIG", "site.toml")
    save_scan(Path("scan.npz"))
    save_model(Path("model"), N=64)


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (["train"], "[inference] n_groups, debug; [solver] n_iterations"),
        (["train", "scan.npz"], "[inference] n_groups, debug; [solver] n_iterations"),
        (["reconstruct", "model"], "[training] n_groups; [solver] n_iterations; [execution] learning_rate"),
        (
            ["reconstruct", "model", "scan.npz"],
            "[training] n_groups; [solver] n_iterations; [execution] learning_rate",
        ),
        (
            ["reconstruct", "scan.npz"],
            "[training] n_groups; [inference] n_groups, debug; [execution] learning_rate, num_workers",
        ),
    ],
)
def test_what_a_run_does_not_use_of_a_file_is_named_once(words: list[str], unused: str, ptycho: Run) -> None:
    code, _, said = ptycho("config", "show", *words, "--config", "mine.toml")
    assert (code, said.count("does not use")) == (0, 1)
    assert f"mine.toml: this run does not use {unused}.\n" in said


@pytest.mark.parametrize("words", [("inspect", "--json"), ("import", "--output", "copy.npz")])
def test_what_is_not_needed_to_read_a_file_is_named(words: tuple[str, ...], ptycho: Run) -> None:
    simulate_scan(N=32, n_positions=20).to_file("scan.npz", overwrite=True)
    Path("reading.toml").write_text(
        "[data]\nsaturation = 1e9\nholdout = 0.1\nmeasurement_domain = 'amplitude'\n"
        "[solver]\ndata_file = 'scan.npz'\nloss = 'poisson'\n[training]\nnepochs = 3\n[execution]\nseed = 4\n"
    )
    code, _, said = ptycho(*words, "--config", "reading.toml")
    unused = "[training] nepochs; [solver] loss; [data] holdout; [execution] seed"
    assert (code, said.count("does not use")) == (0, 1)
    assert f"reading.toml: this run does not use {unused}.\n" in said


def test_a_file_that_is_given_twice_is_told_once(ptycho: Run) -> None:
    said = ptycho("config", "show", "train", "--config", "mine.toml", "--config", "mine.toml")[2]
    assert said.count("does not use") == 1


def test_a_file_of_execution_settings_alone_is_looked_at_as_well(ptycho: Run) -> None:
    Path("knobs.toml").write_text("seed = 3\nnum_workers = 0\n")
    said = ptycho("config", "show", "reconstruct", "--config", "knobs.toml")[2]
    assert said == "knobs.toml: this run does not use [execution] num_workers.\n"


@pytest.mark.parametrize("words", [["train"], ["reconstruct"], ["reconstruct", "model"]])
def test_the_settings_that_are_shown_are_used(ptycho: Run, words: list[str]) -> None:
    Path("shown.toml").write_text(ptycho("config", "show", *words, "--toml")[1])
    assert "does not use" not in ptycho("config", "show", *words, "--config", "shown.toml")[2]


def test_of_many_settings_some_are_named(ptycho: Run) -> None:
    lines = "".join(
        f"{name} = 1\n" for name in ("nepochs", "batch_size", "neighbor_count", "nphotons", "momentum")
    )
    lines += "".join(
        f"{name} = 0.5\n" for name in ("adam_beta1", "adam_beta2", "lr_min_ratio", "plateau_factor")
    )
    Path("long.toml").write_text(f"[training]\n{lines}")
    said = ptycho("config", "show", "reconstruct", "--config", "long.toml")[2]
    assert said.endswith("lr_min_ratio and 1 more.\n")


def test_a_check_uses_everything(ptycho: Run) -> None:
    assert "does not use" not in ptycho("config", "check", "mine.toml")[2]


def test_python_is_told_as_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        create_training_payload("scan.npz", "run", file="mine.toml")
    assert (
        "mine.toml: this run does not use [inference] n_groups, debug; [solver] n_iterations." in caplog.text
    )


def test_what_stands_in_a_file_for_programs_is_no_setting(ptycho: Run) -> None:
    written = ptycho("config", "show", "train", "scan.npz", "--json")[1]
    Path("shown.json").write_text(written)
    code, _, said = ptycho("config", "show", "train", "scan.npz", "--config", "shown.json")
    assert (code, said) == (0, "")

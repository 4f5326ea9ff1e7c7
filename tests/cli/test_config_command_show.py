"""`ptycho config show`: what a run would run with, and where every value is from."""

import json
import os
import pty
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.cli.main import main
from ptycho_torch.config_factory import create_training_payload

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in PyTorchExecutionConfig.model_fields:
        monkeypatch.delenv(f"PTYCHO_EXEC_{name.upper()}", raising=False)


@pytest.fixture
def data() -> Path:
    """All that resolving a configuration reads of a scan."""
    path = Path("scan.npz")
    np.savez(path, probeGuess=np.ones((32, 32), dtype=np.complex64), nphotons=np.float64(2e6))
    return path


def settings(ptycho: Run, *words: object) -> dict[str, dict[str, object]]:
    code, shown, said = ptycho("config", "show", *words, "--json")
    assert code == 0, said
    return json.loads(shown)["origins"]


def test_show_gives_value_origin_and_what_was_beaten(
    ptycho: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run.toml").write_text("[training]\nnepochs = 3\n\n[execution]\nnum_workers = 1\n")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "2")
    shown = settings(ptycho, "train", data, "--config", "run.toml", "--batch-size", "7")
    assert shown["training.batch_size"]["value"] == 7
    assert shown["training.batch_size"]["locator"] == "--batch-size"
    assert shown["training.nepochs"]["locator"] == "run.toml:2"
    assert shown["model.N"]["value"] == 32
    assert shown["training.nphotons"]["value"] == 2e6
    assert shown["execution.num_workers"]["locator"] == "PTYCHO_EXEC_NUM_WORKERS"
    beaten = shown["execution.num_workers"]["shadowed"]
    assert [loser["locator"] for loser in beaten] == ["run.toml:5"]


@pytest.mark.parametrize(("ends", "is_watched"), [(pty.openpty, True), (os.pipe, False)])
def test_the_progress_bar_is_on_where_a_terminal_shows_it(
    ptycho: Run, ends: Callable[[], tuple[int, int]], is_watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = ends()
    with os.fdopen(reader), os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        shown = settings(ptycho, "train")["execution.enable_progress_bar"]
    assert (shown["value"], shown["kind"]) == (is_watched, "cli-default")


@pytest.mark.parametrize("flags", [[], ["--nepochs=1", "--quiet"], ["--scheduler=Default", "--N=64"]])
def test_show_tells_what_the_run_is_given(
    ptycho: Run, data: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = settings(ptycho, "train", data, *flags)

    class Resolved(Exception):
        pass

    def resolve_and_stop(*passed: Any, **asked: Any) -> None:
        raise Resolved(create_training_payload(*passed, **asked))

    monkeypatch.setattr("ptycho_torch.config_factory.create_training_payload", resolve_and_stop)
    with pytest.raises(Resolved) as stopped:
        main(["train", str(data), *flags])
    payload = stopped.value.args[0]
    given = payload.sources | {f"execution.{k}": v for k, v in payload.execution_config.sources.items()}
    expected = {name: {**given[name].to_dict(), "known": True} for name in shown}
    assert shown == json.loads(json.dumps(expected))
    assert set(shown) == set(given)


def test_places_of_a_command_come_from_where_they_were_given(ptycho: Run, data: Path) -> None:
    def places(*words: object) -> list[tuple[str, str, int]]:
        shown = settings(ptycho, "train", *words)
        origins = [shown[f"training.{name}"] for name in ("train_data_file", "output_dir")]
        return [(origin["kind"], origin["locator"], len(origin["shadowed"])) for origin in origins]

    Path("run.toml").write_text(f"[training]\ntrain_data_file = '{data}'\noutput_dir = 'a'\n")
    assert places(data) == [("argument", "", 0), ("cli-default", "", 0)]
    file = ("--config", "run.toml")
    assert places(*file) == [("file", "run.toml:2", 0), ("file", "run.toml:3", 1)]
    assert places(data, *file, "--output-dir=b") == [("argument", "", 1), ("override", "--output-dir", 2)]


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
def test_a_relative_place_is_written_as_an_absolute_one(form: str, ptycho: Run) -> None:
    code, written, _ = ptycho("config", "show", "train", "--output-dir", "a/b", f"--{form}")
    assert (code, f'"{Path("a/b").absolute()}"' in written) == (0, True)


@pytest.mark.parametrize("form", ["toml", "yaml", "json"])
@pytest.mark.parametrize("name", ["a$b.npz", "$HOME", "~", "b.npz ", "a\x85b"])
def test_a_place_of_any_name_reads_back_as_it_is(ptycho: Run, form: str, name: str, data: Path) -> None:
    Path(name).write_bytes(data.read_bytes())
    Path(f"s.{form}").write_text(ptycho("config", "show", "train", name, f"--{form}")[1], encoding="utf-8")
    shown = settings(ptycho, "train", "--config", f"s.{form}")
    assert shown["training.train_data_file"]["value"] == str(Path(name).absolute())


def test_show_needs_no_data_and_says_what_these_will_tell(ptycho: Run) -> None:
    shown = settings(ptycho, "train")
    assert {name for name, origin in shown.items() if origin["kind"] == "inferred"} == {
        "model.N",
        "training.nphotons",
    }
    code, text, _ = ptycho("config", "show", "train")
    assert code == 0
    assert re.search(r"^ +N +from the data +the data$", text, re.MULTILINE)
    assert "runs/NAME-OF-DATA" in text


def test_a_file_does_not_settle_what_data_will_tell_and_a_flag_does(ptycho: Run) -> None:
    Path("run.toml").write_text("[model]\nN = 128\n")
    shown = settings(ptycho, "train", "--config", "run.toml")
    assert (shown["model.N"]["kind"], shown["model.N"]["value"], shown["model.N"]["known"]) == (
        "inferred",
        None,
        False,
    )
    assert [loser["value"] for loser in shown["model.N"]["shadowed"]] == [128]
    assert settings(ptycho, "train", "--N", "96")["model.N"]["value"] == 96


def test_a_reconstruction_without_a_model_has_the_settings_of_the_solver(ptycho: Run, data: Path) -> None:
    for words in ((), (data,)):
        shown = settings(ptycho, "reconstruct", *words, "--inference-batch-size", "5", "--prior", "tv")
        assert {name.partition(".")[0] for name in shown} == {"solver", "data", "execution"}
        assert (shown["solver.prior"]["value"], shown["solver.prior"]["locator"]) == ("tv", "--prior")
        assert shown["solver.output_dir"]["kind"] == "cli-default"
        assert shown["execution.inference_batch_size"]["value"] == 5
    best = settings(ptycho, "reconstruct", "--recipe", "best")
    assert (best["solver.probe_modes"]["value"], best["solver.probe_modes"]["kind"]) == (4, "recipe")
    assert best["execution.inference_batch_size"]["value"] is None
    assert "execution.learning_rate" not in shown


def test_a_model_says_what_it_is_before_there_are_data(ptycho: Run, trained: Path) -> None:
    shown = settings(ptycho, "reconstruct", trained)
    assert shown["inference.model_path"] == {
        "kind": "argument",
        "locator": "",
        "raw": None,
        "value": str(trained),
        "shadowed": [],
        "known": True,
    }
    assert (shown["model.N"]["kind"], shown["model.N"]["value"]) == ("inferred", 32)
    assert shown["inference.test_data_file"]["value"] is None


MATRIX = Path(__file__).parents[2] / "specs" / "override_matrix.md"


@pytest.mark.parametrize(
    ("command", "sections"), [("train", ("model", "training", "execution")), ("reconstruct", ("inference",))]
)
def test_the_matrix_tells_what_the_command_states(
    ptycho: Run, command: str, sections: tuple[str, ...]
) -> None:
    text = MATRIX.read_text()
    shown = settings(ptycho, command)
    for section in sections:
        table = text.partition(f"<!-- generated: {section}-sources -->")[2].partition("<!-- end -->")[0]
        rows = [
            [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line
        ]
        for row in rows[2:]:
            origin = shown.get(f"{section}.{row[0]}")
            for kind in ("recipe", "cli-default") if origin else ():
                assert (origin["kind"] == kind) == (row[rows[0].index(kind)] != "-"), row


def test_show_refuses_what_the_run_refuses(ptycho: Run, data: Path) -> None:
    for words in (
        ["--nepochs", "0", "--num-workers", "many"],
        ["--middle-trim", "33"],
        ["--pin-memory=maybe", "--probe-mask="],
    ):
        code, shown, said = ptycho("config", "show", "train", data, *words)
        assert (code, shown) == (2, "")
        assert ptycho("train", data, *words)[2].partition(": ")[2] in said


def test_a_trim_is_not_held_against_a_size_that_the_data_will_say(ptycho: Run) -> None:
    assert ptycho("config", "show", "train", "--middle-trim", "99")[0] == 0
    code, _, said = ptycho("config", "show", "train", "--middle-trim", "99", "--N", "64")
    assert code == 2
    assert "middle_trim: 99" in said


def test_without_a_recipe_the_defaults_hold_and_nothing_is_missed(ptycho: Run, scan: Path) -> None:
    code, out, said = ptycho("config", "show", "train", scan, "--recipe", "none")
    assert code == 0, said
    assert re.search(r"^  n_groups +none +default$", out, re.MULTILINE)
    assert create_training_payload(scan, "out", recipe=None).tf_training_config.n_groups is None

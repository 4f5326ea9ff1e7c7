"""`ptycho doctor`: what this machine offers, which settings it would refuse, and which files of a run have changed."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from ptycho.checksums import Checksums
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.devices import available_accelerators
from tests import refusals
from tests.torch.factory_calls import save_scan

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.skipif(available_accelerators() != ("cpu",), reason="says what a CPU alone offers")


@pytest.fixture(autouse=True)
def _in_an_empty_folder_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in PyTorchExecutionConfig.model_fields:
        monkeypatch.delenv(f"PTYCHO_EXEC_{name.upper()}", raising=False)


def test_settings_that_none_would_refuse_end_well(ptycho: Run) -> None:
    code, told, said = ptycho("doctor")
    assert (code, said) == (0, "")
    assert "would refuse:" not in told
    assert told.splitlines()[-1].startswith("ptycho train ")


def test_the_tables_tell_versions_devices_and_what_each_value_would_meet(ptycho: Run) -> None:
    told = [" ".join(line.split()) for line in ptycho("doctor")[1].splitlines()]
    assert f"torch {version('torch')}" in told
    assert any(line.startswith("cpu a device ") for line in told)
    assert "accelerator cpu yes" in told
    assert "ddp_backend gloo yes" in told
    assert any(line.startswith("* precision 16-mixed refused: ") for line in told)
    assert any(line.startswith("* pin_memory True no effect: ") for line in told)


def test_settings_in_force_come_from_environment_file_and_flags(
    ptycho: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_PRECISION", "16-mixed")
    Path("run.toml").write_text("[training]\nnepochs = 2\n\n[execution]\ncheck_val_every_n_epoch = 3\n")
    code, told, _ = ptycho("doctor", "--config", "run.toml", "--num-nodes", "2")
    assert code == 2
    assert refusals.told(told.partition("ptycho train would refuse:\n")[2]) == [
        ("num_nodes", "flag --num-nodes"),
        ("precision", "environment variable PTYCHO_EXEC_PRECISION"),
        ("check_val_every_n_epoch", "run.toml:5"),
    ]


def test_what_the_doctor_says_is_what_the_training_says(ptycho: Run) -> None:
    flags = (
        "--precision=16-mixed",
        "--accelerator=cpu",
        "--scheduler=Adaptive",
        "--checkpoint-monitor-metric=x",
    )
    told = ptycho("doctor", *flags)[1].partition("ptycho train would refuse:\n")[2]
    code, _, said = ptycho("train", save_scan(Path("scan.npz")), *flags, "--quiet")
    assert (code, said) == (2, f"ptycho train: {told}")


def test_a_wrong_value_is_told_beside_the_machine(ptycho: Run) -> None:
    code, told, _ = ptycho("doctor", "--num-workers", "many", "--config", "gone.toml")
    assert code == 2
    assert "lightning" in told
    refused = told.partition("ptycho train would refuse:\n")[2]
    assert sorted(refusals.told(refused)) == [("gone.toml",), ("num_workers", "flag --num-workers")]


def test_programs_read_json(ptycho: Run) -> None:
    code, text, _ = ptycho("doctor", "--json", "--accelerator", "tpu")
    told = json.loads(text)
    assert code == 2
    assert told["versions"]["torch"] == version("torch")
    assert told["accelerators"] == {"cpu": []}
    assert told["values"]["any"]["accelerator"]["cpu"] is None
    assert told["values"]["any"]["accelerator"]["tpu"]["verdict"] == "refused"
    assert "torch_xla" in told["values"]["any"]["accelerator"]["tpu"]["message"]
    assert [failure["name"] for failure in told["refused"]] == ["accelerator"]


def test_a_train_that_is_refused_reads_no_patterns(ptycho: Run) -> None:
    save_scan(Path("scan.npz"))  # without patterns
    code, _, said = ptycho("train", "scan.npz", "--precision", "16-mixed", "--accelerator", "cpu")
    assert code == 2
    assert refusals.told(said) == [("precision", "flag --precision")]
    code, _, said = ptycho("train", "scan.npz", "--accelerator", "cpu")
    assert code == 2
    assert "scan.npz" in said
    assert "diff3d" in said


def test_a_demo_that_is_refused_simulates_nothing(ptycho: Run) -> None:
    code, _, said = ptycho("demo", "--precision", "16-mixed", "--accelerator", "cpu", "--N", "32")
    assert code == 2
    assert refusals.told(said) == [("precision", "flag --precision")]
    assert list(Path().iterdir()) == []


def test_a_demo_refuses_what_any_of_its_runs_would_refuse_before_it_trains(ptycho: Run) -> None:
    Path("run.toml").write_text("[inference]\nn_groups = 'x'\n[solver]\nn_iterations = 0\nspeed = 3\n")
    words = ("--n-positions", "many", "--nepochs", "0", "--N", "wide", "--n-iteration", "3")
    code, _, said = ptycho("demo", "--config", "run.toml", *words)
    assert code == 2
    assert {name for name, *_ in refusals.told(said)} == {
        *("--n-iteration", "n_positions", "training.nepochs", "model.N"),
        *("inference.n_groups", "solver.n_iterations", "speed"),
    }
    assert [path.name for path in Path().iterdir()] == ["run.toml"]


def run_with(*names: str) -> None:
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/config.json").write_text('{"configuration": {}}')
    for name in names:
        with Checksums("run").write(Path("run", name)) as file:
            file.write(name.encode())
    Checksums("run").settle()


def test_a_run_whose_files_are_as_they_were_written_is_well(ptycho: Run) -> None:
    run_with("wts.h5.zip", "checkpoints/last.ckpt")
    code, told, said = ptycho("doctor", "run")
    assert (code, said) == (0, "")
    lines = [line.split() for line in told.splitlines()]
    assert lines[1:3] == [["checkpoints/last.ckpt", "ok"], ["wts.h5.zip", "ok"]]
    assert told.splitlines()[-1] == "run: no file has changed."


def test_a_file_of_a_run_that_has_changed_or_is_gone_is_told(ptycho: Run) -> None:
    run_with("wts.h5.zip", "checkpoints/a.ckpt", "checkpoints/b.ckpt")
    Path("run/wts.h5.zip").write_bytes(b"other")
    Path("run/checkpoints/a.ckpt").unlink()
    Path("run/checkpoints/z.ckpt").write_bytes(b"put there")
    code, told, _ = ptycho("doctor", "run")
    assert code == 1
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert "* wts.h5.zip changed" in lines
    assert "* checkpoints/a.ckpt missing" in lines
    assert "* checkpoints/z.ckpt not listed" in lines
    assert lines[-1] == "run: 2 of 4 files changed or missing, 1 of 4 files not listed, so not checked."
    code, text, _ = ptycho("doctor", "run", "--json")
    assert code == 1
    assert json.loads(text)["files"] == {
        "checkpoints/a.ckpt": "missing",
        "checkpoints/b.ckpt": "ok",
        "wts.h5.zip": "changed",
        "checkpoints/z.ckpt": "not listed",
    }


def test_a_run_that_could_not_be_checked_is_not_sound(ptycho: Run) -> None:
    run_with()
    code, told, _ = ptycho("doctor", "run")
    assert (code, told.splitlines()[-1]) == (
        1,
        "run: config.json lists no files, so none was checked.",
    )
    for name in ("wts.h5.zip", "checkpoints/last.ckpt", "reconstruction.npz"):
        Path("run", name).touch()
        code, told, _ = ptycho("doctor", "run")
        assert (code, told.splitlines()[-1]) == (1, "run: 1 of 1 files not listed, so not checked.")
        Path("run", name).unlink()


def test_a_run_that_came_to_nothing_is_told_though_its_files_are_sound(ptycho: Run) -> None:
    Path("run/a").mkdir(parents=True)
    Path("run/config.json").write_text("{}")
    for folder, problem in (("run/a", "r_factor: expected less\x1b"), ("run", None)):
        with Checksums("run").write(Path(folder, "metrics.json")) as file:
            file.write(json.dumps({"r_factor": 0.9, "problem": problem}).encode())
    with Checksums("run").write(Path("run/a/reconstruction.npz")):
        pass
    code, told, _ = ptycho("doctor", "run")
    assert (code, told.splitlines()[-1]) == (3, "run/a/metrics.json: r_factor: expected less\\x1b")
    code, told, _ = ptycho("doctor", "run", "--json")
    assert (code, len(json.loads(told)["problems"])) == (3, 1)
    Path("run/a/metrics.json").write_text("{")
    code, told, _ = ptycho("doctor", "run")
    assert code == 1
    assert "run/a/metrics.json: expected the figures of a reconstruction; got an error" in told


def test_what_is_no_run_is_refused(ptycho: Run) -> None:
    code, _, said = ptycho("doctor", "nowhere")
    assert code == 2
    assert said == (
        "ptycho doctor: nowhere: expected the folder of a run, which holds config.json; got no folder. Name the "
        "output folder of a training or of a reconstruction.\n"
    )


def test_a_run_goes_without_the_flags_of_a_training(ptycho: Run) -> None:
    code, _, said = ptycho("doctor", "run", "--nepochs", "3")
    assert code == 2
    assert "RUN: expected without flags" in said

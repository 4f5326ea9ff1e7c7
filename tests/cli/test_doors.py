"""The historical command lines and helpers."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptycho_torch import inference, train
from ptycho_torch.cli.historical import translate
from ptycho_torch.cli.shared import build_execution_config_from_args, resolve_accelerator, validate_paths
from tests.refusals import told

SHORT = ("--n_unrolled_steps", "1", "--n_filters_scale", "1", "--batch_size", "16", "--gridsize", "1")


def test_a_historical_training_and_reconstruction_run(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, picture = tmp_path / "run", tmp_path / "picture"
    words = [
        "--train_data_file",
        str(scan),
        "--output_dir",
        str(run_dir),
        "--nepochs",
        "1",
        "--n_groups",
        "40",
    ]
    assert train.main([*words, *SHORT, "--accelerator", "cpu"]) == 0
    words = ["--model_path", str(run_dir), "--test_data", str(scan), "--output_dir", str(picture)]
    assert inference.main([*words, "--accelerator", "cpu", "--n_groups", "20"]) == 0
    assert (picture / "reconstruction.npz").is_file(), capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "warning", "new"),
    [
        (["--max_epochs", "3"], "--max_epochs is deprecated; use --nepochs", ["--nepochs=3"]),
        (["--n_images=9"], "--n_images is deprecated; use --n-groups", ["--n-groups=9"]),
        (["--lr", "0.1"], "--lr is deprecated; use --learning-rate", ["--learning-rate=0.1"]),
        (["--device", "cpu"], "--device is deprecated; use --accelerator", ["--accelerator=cpu"]),
        (["--device", "cuda"], "--device is deprecated; use --accelerator", ["--accelerator=gpu"]),
        (
            ["--disable_mlflow"],
            "--disable_mlflow is deprecated; use --logger-backend none",
            ["--disable-mlflow", "--no-enable-progress-bar"],
        ),
    ],
)
def test_a_deprecated_option_warns_and_names_the_new_one(
    old: list[str], warning: str, new: list[str]
) -> None:
    with pytest.warns(DeprecationWarning, match=warning):
        today = translate("train", ["--train_data_file", "a.npz", *old])
    assert today == ["train", "a.npz", *new, "--overwrite"]


def test_an_accelerator_beats_a_device() -> None:
    words = ["--model_path", "m", "--test_data", "d", "--device", "cuda", "--accelerator", "cpu"]
    with (
        pytest.warns(UserWarning, match="Ignoring --device value 'cuda'"),
        pytest.warns(DeprecationWarning, match="--device"),
    ):
        assert translate("reconstruct", words) == [
            "reconstruct",
            "m",
            "d",
            "--accelerator=cpu",
            "--overwrite",
        ]


def test_bare_switches_stay_switches() -> None:
    words = ["--train_data_file", "a.npz", "--deterministic", "--pin-memory", "--quiet"]
    assert translate("train", words) == [
        "train",
        "a.npz",
        "--deterministic=true",
        "--pin-memory",
        "--quiet",
        "--overwrite",
    ]


def test_a_door_is_a_process_of_its_own(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "ptycho_torch.inference", "--model_path", "m", "--n_images", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root})
    assert (done.returncode, done.stdout) == (2, "")
    assert told(done.stderr) == [("--test_data",)]


def test_a_deprecation_is_one_line_for_the_person_at_the_terminal(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    command = [
        sys.executable,
        "-m",
        "ptycho_torch.train",
        "--train_data_file",
        "none.npz",
        "--max_epochs",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root})
    assert done.returncode == 2
    warning, *refusal = done.stderr.splitlines()
    assert re.findall(r"--\w+", warning) == ["--max_epochs", "--nepochs"]
    assert told("\n".join(refusal))[0] == ("training.nepochs", "flag --nepochs")


def test_a_namespace_gives_flags_and_absent_attributes_give_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_LEARNING_RATE", "0.5")
    config = build_execution_config_from_args(
        argparse.Namespace(accelerator="cpu", num_workers="2", deterministic=False, prefetch_factor=None)
    )
    assert (config.accelerator, config.num_workers, config.learning_rate) == ("cpu", 2, 0.5)
    assert config.sources["num_workers"].is_flag


@pytest.mark.parametrize("attribute", ["quiet", "disable_mlflow"])
def test_quiet_and_disable_mlflow_turn_the_progress_bar_off(attribute: str) -> None:
    config = build_execution_config_from_args(argparse.Namespace(**{attribute: True}), mode="inference")
    assert config.enable_progress_bar is False
    assert (
        build_execution_config_from_args(argparse.Namespace(**{attribute: False})).enable_progress_bar is True
    )


def test_determinism_with_workers_warns_of_its_cost() -> None:
    with pytest.warns(UserWarning, match="performance degradation"):
        build_execution_config_from_args(argparse.Namespace(deterministic=True, num_workers=2))


def test_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Invalid mode: .*'test'"):
        build_execution_config_from_args(argparse.Namespace(), mode="test")


def test_an_old_device_becomes_an_accelerator() -> None:
    with pytest.warns(DeprecationWarning, match="--device is deprecated"):
        assert resolve_accelerator(device="cuda") == "gpu"
    with (
        pytest.warns(DeprecationWarning, match="--device"),
        pytest.warns(UserWarning, match="Ignoring --device value"),
    ):
        assert resolve_accelerator("cpu", device="cuda") == "cpu"
    assert resolve_accelerator("cpu") == "cpu"


def test_missing_data_files_are_told_apart(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Training data file not found"):
        validate_paths(tmp_path / "none.npz", None, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="Test data file not found"):
        validate_paths(scan, tmp_path / "none.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    validate_paths(scan, None, tmp_path / "out")
    assert (tmp_path / "out").is_dir()


def test_an_output_folder_that_is_a_file_is_refused_in_words(scan: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"^output_dir: expected a folder; got the file"):
        validate_paths(None, None, scan)

"""Wrong input: one message on the error stream, exit code 2, no traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.cli.console import Interruption, watching_for_interrupt
from tests.torch.factory_calls import save_model, save_scan

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "ptycho: trian: no such command. Did you mean train?"),
        (
            ["--num-workers", "4", "train"],
            "ptycho: --num-workers: expected a command (simulate, inspect, import, train, reconstruct, demo, config, "
            "doctor, completion) first; got a flag.",
        ),
        (["train", "a.npz", "b.npz"], "ptycho train: b.npz: expected nothing more; got another argument."),
        (
            ["train", "a.npz", "--num-worker", "4"],
            "ptycho train: --num-worker: no such flag. Did you mean --num-workers?",
        ),
        (
            ["train"],
            "ptycho train: DATA: expected a path; got none. Give it, or train_data_file in [training] of --config.",
        ),
        (
            ["reconstruct", "runs"],
            "ptycho reconstruct: Data file not found: runs: expected a file, or a folder of *.npz files; got nothing "
            "there. Check the path.",
        ),
        (
            ["train", "--config", "none.toml", "--nepochs=x"],
            "ptycho train: none.toml: no such file. Check the path.\n"
            "training.nepochs: expected an integer >= 1; got 'x' from flag --nepochs.",
        ),
        (
            ["simulate", "--output", "a.npz", "--N", "x"],
            "ptycho simulate: N: expected an integer; got 'x' from flag --N.",
        ),
        (
            ["simulate", "--output", "a.npz", "--N", "33"],
            "ptycho simulate: N: expected an even number >= 16; got 33. Change it.",
        ),
        (
            ["train", "a.npz", "--config", "none.toml"],
            "ptycho train: none.toml: no such file. Check the path.\n"
            "Training data file not found: a.npz: expected a file, or a folder of *.npz files; got nothing there. "
            "Check the path.",
        ),
    ],
)
def test_wrong_words_are_refused(
    ptycho: Run, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ptycho(*words) == (2, "", f"{message}\n")
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_flag_is_named_at_once(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    code, _, said = ptycho(
        "train", scan, "--output-dir", tmp_path / "run", "--num-workers", "many", "--batch-size", 0
    )
    assert code == 2
    assert "num_workers: expected an integer >= 0; got 'many' from flag --num-workers." in said
    assert "batch_size: expected an integer >= 1; got '0' from flag --batch-size." in said


def test_a_missing_path_is_named_with_everything_else(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    workers = (
        "num_workers: expected an integer >= 0; got 'many' from environment variable PTYCHO_EXEC_NUM_WORKERS."
    )
    code, _, said = ptycho("train", "--nepochs=0")
    assert code == 2
    assert said.splitlines() == [
        "ptycho train: DATA: expected a path; got none. Give it, or train_data_file in [training] of --config.",
        "training.nepochs: expected an integer >= 1; got '0' from flag --nepochs.",
        workers,
    ]
    code, _, said = ptycho("reconstruct")
    assert code == 2
    assert [line.split(":")[0] for line in said.removeprefix("ptycho reconstruct: ").splitlines()] == [
        "DATA",
        "num_workers",
    ]


@pytest.mark.parametrize("command", [["train"], ["config", "show", "train"]])
def test_an_unknown_flag_is_named_with_every_wrong_one(ptycho: Run, command: list[str]) -> None:
    words = ("--num-workers", "many", "--learning-rate", "nan", "--foo", "3", "--nepoch=1")
    code, shown, said = ptycho(*command, *words)
    assert (code, shown) == (2, "")
    name = " ".join(["ptycho", *command])
    assert said.partition(": ")[2].splitlines() == [
        f"--foo: no such flag. See {name} --help.",
        "--nepoch: no such flag. Did you mean --nepochs?",
        "num_workers: expected an integer >= 0; got 'many' from flag --num-workers.",
        "learning_rate: expected a finite number > 0; got 'nan' from flag --learning-rate.",
    ]


@pytest.mark.parametrize("command", [["train"], ["config", "show", "train"]])
def test_an_unknown_flag_beside_resume_is_refused(ptycho: Run, command: list[str], tmp_path: Path) -> None:
    code, _, said = ptycho(*command, "--resume", tmp_path, "--foo")
    assert (code, said.partition(": ")[2].partition(".")[0]) == (2, "--foo: no such flag")


def test_a_model_that_is_kept_is_named_with_every_mistake(
    ptycho: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "wts.h5.zip"
    model.touch()
    kept = (
        f"{tmp_path}: expected a folder without a run; got one with a trained model. "
        "Replace it (--overwrite; overwrite=True in Python), or name another folder."
    )
    assert ptycho("train", scan, "--output-dir", tmp_path) == (2, "", f"ptycho train: {kept}\n")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKER", "4")
    said = ptycho("train", scan, "--output-dir", tmp_path, "--nepochs", "0", "--foo")[2]
    assert said.removeprefix("ptycho train: ").splitlines() == [
        "--foo: no such flag. See ptycho train --help.",
        kept,
        "training.nepochs: expected an integer >= 1; got '0' from flag --nepochs.",
        "PTYCHO_EXEC_NUM_WORKER: no such setting. Did you mean PTYCHO_EXEC_NUM_WORKERS?",
    ]
    said = ptycho("simulate", "--output", model, "--n-positions=many")[2]
    assert said.removeprefix("ptycho simulate: ").splitlines() == [
        "n_positions: expected an integer; got 'many' from flag --n-positions.",
        f"{model}: expected nothing there yet; got a file. Name another place, or pass --overwrite.",
    ]


def test_a_missing_model_is_named_with_the_missing_data_and_every_mistake(
    ptycho: Run, tmp_path: Path
) -> None:
    said = ptycho("reconstruct", tmp_path / "run", tmp_path / "scan.npz", "--num-workers=many")[2]
    assert said.removeprefix("ptycho reconstruct: ").splitlines() == [
        "num_workers: expected an integer >= 0; got 'many' from flag --num-workers.",
        "inference.model_path: Model archive not found: expected the output folder of a training, which holds "
        f"wts.h5.zip; got '{tmp_path / 'run'}'. Train first, or correct the path.",
        f"Test data file not found: {tmp_path / 'scan.npz'}: expected a file, or a folder of *.npz files; got nothing "
        "there. Check the path.",
    ]


def test_missing_data_are_named(ptycho: Run, tmp_path: Path) -> None:
    code, _, said = ptycho("train", tmp_path / "scan.npz")
    assert code == 2
    assert said.startswith("ptycho train: Training data file not found:")
    assert str(tmp_path / "scan.npz") in said


def test_data_that_are_no_scan_are_refused(ptycho: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "scan.npz", probeGuess=np.ones((32, 32), complex), diff3d=np.ones((9, 32, 32)))
    code, _, said = ptycho(
        "train", tmp_path / "scan.npz", "--output-dir", tmp_path / "run", "--accelerator=cpu"
    )
    assert code == 2
    assert "xcoords" in said


CLASHES = [
    (
        ["--gridsize=5", "--neighbor-count=8"],
        "training.neighbor_count: 8 (flag --neighbor-count) needs gridsize <= 3; gridsize is 5 (flag --gridsize). "
        "Raise neighbor_count to 24 or more, or lower gridsize.",
    ),
    (
        ["--scheduler=Adaptive", "--lr-warmup-epochs=2"],
        "training.lr_warmup_epochs: 2 (flag --lr-warmup-epochs) needs a scheduler other than Adaptive, which follows "
        "the loss; scheduler is Adaptive (flag --scheduler). Set lr_warmup_epochs to 0, or choose another scheduler.",
    ),
    (
        ["--lr-warmup-epochs=30"],
        "training.lr_warmup_epochs: 30 (flag --lr-warmup-epochs) needs nepochs > 30; nepochs is 8 (recipe "
        "standard). Shorten the warm-up, or train longer.",
    ),
    (
        ["--scheduler=Exponential", "--lr-min-ratio=0"],
        "training.lr_min_ratio: 0.0 (flag --lr-min-ratio) needs a scheduler whose rate does not end at a factor of "
        "lr_min_ratio; scheduler is Exponential (flag --scheduler). Set lr_min_ratio > 0, for example to 0.1, or "
        "choose another scheduler.",
    ),
    (
        ["--torch-loss-mode=poisson", "--nll-weight=0"],
        "training.nll_weight: 0.0 (flag --nll-weight) needs mae_weight > 0; mae_weight is 0.0 (default). Without a "
        "loss nothing is learned. Set one of the two > 0.",
    ),
    (
        ["--backend=tensorflow"],
        "training.backend: expected pytorch; got tensorflow from flag --backend. This distribution holds no "
        "tensorflow backend. Set pytorch.",
    ),
    (
        ["--middle-trim=33"],
        "middle_trim: 33 (flag --middle-trim) needs patches of 33 pixels or more; N is 32 (the probe in {scan}). "
        "Choose a smaller one, or 0 for the whole patch.",
    ),
]


@pytest.mark.parametrize(("words", "message"), CLASHES)
def test_what_does_not_go_together_is_refused_and_shown_before_a_run(
    ptycho: Run, scan: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    place = ("--output-dir", tmp_path / "run")
    expected = message.format(scan=scan)
    assert ptycho("train", scan, *place, *words) == (2, "", f"ptycho train: {expected}\n")
    code, _, said = ptycho("config", "show", "train", scan, *place, *words)
    assert (code, said.partition(": ")[2]) == (2, f"{expected}\n")


@pytest.mark.parametrize("command", ["train", "reconstruct"])
def test_what_depends_on_the_size_of_the_patterns_waits_for_it(
    ptycho: Run, tmp_path: Path, command: str
) -> None:
    large = save_scan(tmp_path / "large.npz", n=128)
    model = [save_model(tmp_path / "model", N=128)] if command == "reconstruct" else []
    said = {
        trim: ptycho(command, *model, large, "--output-dir", tmp_path / "run", f"--middle-trim={trim}")[2]
        for trim in (128, 129)
    }
    assert "middle_trim: 129 (flag --middle-trim) needs patches of 129 pixels or more; N is 128" in said[129]
    assert "middle_trim" not in said[128]


@pytest.mark.parametrize("words", [["--gridsize=5"], ["--scheduler=Adaptive"], ["--nepochs=1"]])
def test_what_the_command_states_gives_way_to_what_was_asked_for(
    ptycho: Run, scan: Path, words: list[str]
) -> None:
    assert ptycho("config", "show", "train", scan, *words)[0] == 0


def test_a_folder_without_a_model_is_refused(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    code, _, said = ptycho("reconstruct", tmp_path, scan)
    assert code == 2
    assert "Model archive not found" in said


def test_a_foreign_model_is_refused(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "wts.h5.zip").write_bytes(b"not a zip archive")
    code, _, said = ptycho("reconstruct", tmp_path, scan, "--accelerator", "cpu")
    assert code == 2
    assert str(tmp_path / "wts.h5.zip") in said


def test_a_trained_model_is_not_replaced_unasked(ptycho: Run, scan: Path, trained: Path) -> None:
    before = (trained / "wts.h5.zip").stat().st_mtime_ns
    code, _, said = ptycho("train", scan, "--output-dir", trained)
    assert code == 2
    assert (
        f"Go on with it (ptycho train --resume {trained}; resume() in Python), replace it (--overwrite"
        in said
    )
    assert (trained / "wts.h5.zip").stat().st_mtime_ns == before


def test_an_empty_folder_name_does_not_replace_a_model(
    ptycho: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wts.h5.zip").write_bytes(b"a model")
    Path("run.toml").write_text("[training]\noutput_dir = 'elsewhere'\n")
    message = "ptycho train: training.output_dir: expected a path; got '' from flag --output-dir.\n"
    assert ptycho("train", scan, "--output-dir", "", "--config", "run.toml") == (2, "", message)
    assert (tmp_path / "wts.h5.zip").read_bytes() == b"a model"


@pytest.mark.parametrize("command", [["train"], ["config", "show", "train"]])
def test_an_empty_name_of_a_scan_is_refused(ptycho: Run, command: list[str]) -> None:
    code, shown, said = ptycho(*command, "")
    assert (code, shown) == (2, "")
    assert "training.train_data_file: expected a path or none; got '' from argument." in said


def test_a_scan_is_replaced_only_with_overwrite(ptycho: Run, tmp_path: Path) -> None:
    words = ("simulate", "--output", tmp_path / "scan.npz", "--N", 32, "--n-positions")
    assert ptycho(*words, 20)[0] == 0
    assert ptycho(*words, 25)[0] == 2
    code, out, _ = ptycho(*words, 25, "--overwrite")
    assert (code, out.endswith("25 patterns of 32 x 32 pixels, amplitude\n")) == (0, True)


def test_a_process_refuses_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ptycho_torch", "reconstruct", "no-model", "no-data.npz", "--n-groups=0"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ptycho reconstruct: inference.n_groups: expected an integer >= 1")
    assert "Traceback" not in done.stderr


def test_a_variable_of_ones_own_is_no_error_where_python_makes_warnings_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "ptycho_torch", "config", "check"]
    environ = {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PTYCHO_EXEC_OF_MY_OWN": "1",
        "PTYCHO_EXEC_LR": "0.1",
    }
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ)
    assert (done.returncode, done.stdout) == (0, "environment: no mistakes found\n")
    assert done.stderr.splitlines() == [
        "warning: PTYCHO_EXEC_LR is an old name; use PTYCHO_EXEC_LEARNING_RATE.",
        "warning: PTYCHO_EXEC_OF_MY_OWN: no such setting; the variable is ignored.",
    ]


def test_a_missing_scan_is_reported_with_everything_else(ptycho: Run) -> None:
    code, _, said = ptycho("train", "nofile.npz", "--config", "no.toml", "--nepochs", "x", "--num-workers=-1")
    assert code == 2
    assert [line.split(":")[0] for line in said.removeprefix("ptycho train: ").splitlines()] == [
        "no.toml",
        "training.nepochs",
        "num_workers",
        "Training data file not found",
    ]


def test_an_interrupted_run_says_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with (
        pytest.raises(Interruption, match=r"interrupted; kept in .*checkpoints: last\.ckpt\."),
        watching_for_interrupt(tmp_path),
    ):
        raise KeyboardInterrupt


def test_an_exit_that_is_no_interrupt_passes(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), watching_for_interrupt(tmp_path):
        raise SystemExit(1)


def test_loading_processes_beyond_what_a_machine_can_hold_are_refused(ptycho, scan, tmp_path: Path) -> None:
    code, _, err = ptycho("train", scan, "--output-dir", tmp_path / "run", "--num-workers=1000000")
    assert code == 2
    assert "num_workers: expected at most " in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 16.0 TiB for an array with shape (1000000, 1000000, 2)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 16 bytes.\nC++"),
    ],
)
def test_too_little_memory_is_one_line(
    ptycho, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error
) -> None:
    def run(options: object) -> int:
        raise error

    monkeypatch.setattr("ptycho_torch.cli.simulate.run", run)
    code, _, err = ptycho("simulate", "--output", tmp_path / "x.npz")
    assert (code, err.count("\n")) == (2, 1)
    assert "ptycho simulate: not enough memory: " in err
    assert "allocate" in err


def test_every_problem_of_a_scan_has_a_line_of_its_own(ptycho: Run, tmp_path: Path) -> None:
    path, n = tmp_path / "bad.npz", 20
    patterns, probe = np.full((n, 32, 32), np.nan), np.ones((32, 32), dtype=complex)
    np.savez(path, diff3d=patterns, xcoords=np.full(n, np.inf), ycoords=np.arange(n), probeGuess=probe)
    code, _, said = ptycho("train", path, "--output-dir", tmp_path / "run", "--quiet", "--accelerator", "cpu")
    assert code == 2
    [patterns_line, positions_line] = [line for line in said.splitlines() if "expected finite" in line]
    assert patterns_line.startswith("ptycho train: diff3d: ")
    assert positions_line.startswith("xcoords: ")

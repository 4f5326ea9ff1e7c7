"""Wrong input: one message on the error stream, exit code 2, no traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.cli.console import Interruption, watching_for_interrupt
from tests.core.runs import write_run
from tests.refusals import meant, told
from tests.torch.factory_calls import save_model, save_scan

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["trian"], [("trian",)]),
        (["--num-workers", "4", "train"], [("--num-workers",)]),
        (["train", "a.npz", "b.npz"], [("b.npz",)]),
        (["train", "a.npz", "--num-worker", "4"], [("--num-worker",)]),
        (["train"], [("DATA",)]),
        (["train", ""], [("training.train_data_file", "argument"), ("Training data file not found",)]),
        (["simulate", "--output", ""], [("--output",)]),
        (["reconstruct", "--data", "a.npz"], [("--data",)]),
        (["reconstruct", "runs"], [("Scan file not found",)]),
        (
            ["train", "--config", "none.toml", "--nepochs=x"],
            [("none.toml",), ("training.nepochs", "flag --nepochs")],
        ),
        (["simulate", "--output", "a.npz", "--N", "x"], [("N", "flag --N")]),
        (["simulate", "--output", "a.npz", "--N", "33"], [("--N",)]),
        (
            ["train", "a.npz", "--config", "none.toml"],
            [("none.toml",), ("Training data file not found",)],
        ),
    ],
)
def test_wrong_words_are_refused(
    ptycho: Run,
    words: list[str],
    wrong: list[tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, said = ptycho(*words)
    assert (code, out) == (2, "")
    assert told(said) == wrong
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_flag_is_named_at_once(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    code, _, said = ptycho(
        "train", scan, "--output-dir", tmp_path / "run", "--num-workers", "many", "--batch-size", 0
    )
    assert code == 2
    assert told(said) == [("training.batch_size", "flag --batch-size"), ("num_workers", "flag --num-workers")]


def test_a_missing_path_is_named_with_everything_else(ptycho: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    workers = ("num_workers", "environment variable PTYCHO_EXEC_NUM_WORKERS")
    code, _, said = ptycho("train", "--nepochs=0")
    assert code == 2
    assert told(said) == [("DATA",), ("training.nepochs", "flag --nepochs"), workers]
    code, _, said = ptycho("reconstruct")
    assert code == 2
    assert told(said) == [("DATA",), workers]


@pytest.mark.parametrize("command", [["train"], ["config", "show", "train"]])
def test_an_unknown_flag_is_named_with_every_wrong_one(ptycho: Run, command: list[str]) -> None:
    words = ("--num-workers", "many", "--learning-rate", "nan", "--foo", "3", "--nepoch=1")
    code, shown, said = ptycho(*command, *words)
    assert (code, shown) == (2, "")
    assert told(said) == [
        ("--foo",),
        ("--nepoch",),
        ("num_workers", "flag --num-workers"),
        ("learning_rate", "flag --learning-rate"),
    ]
    assert meant(said) == ["--nepochs"]


@pytest.mark.parametrize("command", [["train"], ["config", "show", "train"]])
def test_an_unknown_flag_beside_resume_is_refused(ptycho: Run, command: list[str], tmp_path: Path) -> None:
    code, _, said = ptycho(*command, "--resume", tmp_path, "--foo")
    assert (code, told(said)) == (2, [("--foo",)])


def test_a_model_that_is_kept_is_named_with_every_mistake(
    ptycho: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "wts.h5.zip"
    model.touch()
    kept = (f"{tmp_path}",)
    code, _, said = ptycho("train", scan, "--output-dir", tmp_path)
    assert (code, told(said)) == (2, [kept])
    assert "--overwrite" in said
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKER", "4")
    said = ptycho("train", scan, "--output-dir", tmp_path, "--nepochs", "0", "--foo")[2]
    assert told(said) == [
        ("--foo",),
        kept,
        ("training.nepochs", "flag --nepochs"),
        ("PTYCHO_EXEC_NUM_WORKER",),
    ]
    said = ptycho("simulate", "--output", model, "--n-positions=many")[2]
    assert told(said) == [("n_positions", "flag --n-positions"), (f"{model}",)]


def test_a_missing_model_is_named_with_the_missing_data_and_every_mistake(
    ptycho: Run, tmp_path: Path
) -> None:
    said = ptycho("reconstruct", tmp_path / "run", tmp_path / "scan.npz", "--num-workers=many")[2]
    assert told(said) == [
        ("num_workers", "flag --num-workers"),
        ("inference.model_path",),
        ("Scan file not found",),
    ]
    assert all(f"{tmp_path / name}" in said for name in ("run", "scan.npz"))


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
    (["--gridsize=5", "--neighbor-count=8"], "training.neighbor_count", "flag --gridsize"),
    (["--scheduler=Adaptive", "--lr-warmup-epochs=2"], "training.lr_warmup_epochs", "flag --scheduler"),
    (["--lr-warmup-epochs=30"], "training.lr_warmup_epochs", "recipe standard"),
    (["--scheduler=Exponential", "--lr-min-ratio=0"], "training.lr_min_ratio", "flag --scheduler"),
    (["--torch-loss-mode=poisson", "--nll-weight=0"], "training.nll_weight", "default"),
    (["--backend=tensorflow"], "training.backend", ""),
    (["--middle-trim=33"], "middle_trim", "the probe in {scan}"),
]


@pytest.mark.parametrize(("words", "name", "other"), CLASHES)
def test_what_does_not_go_together_is_refused_and_shown_before_a_run(
    ptycho: Run, scan: Path, tmp_path: Path, words: list[str], name: str, other: str
) -> None:
    flag = f"--{name.removeprefix('training.').replace('_', '-')}"
    said = {
        command: ptycho(*command.split(), scan, "--output-dir", tmp_path / "run", *words)
        for command in ("train", "config show train")
    }
    assert {(code, out) for code, out, _ in said.values()} == {(2, "")}
    [line] = {err.partition(": ")[2] for _, _, err in said.values()}
    assert line.startswith(f"{name}: ")
    assert f"flag {flag}" in line
    assert f"({other.format(scan=scan)})" in line or not other


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
    assert "middle_trim: 129 (flag --middle-trim) " in said[129]
    assert "N is 128" in said[129]
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
    assert told(said) == [(f"{trained}",)]
    assert all(way in said for way in (f"ptycho train --resume {trained} --nepochs N;", "--overwrite"))
    assert (trained / "wts.h5.zip").stat().st_mtime_ns == before


def test_an_empty_folder_name_does_not_replace_a_model(
    ptycho: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wts.h5.zip").write_bytes(b"a model")
    Path("run.toml").write_text("[training]\noutput_dir = 'elsewhere'\n")
    code, _, said = ptycho("train", scan, "--output-dir", "", "--config", "run.toml")
    assert (code, told(said)) == (2, [("training.output_dir", "flag --output-dir")])
    assert (tmp_path / "wts.h5.zip").read_bytes() == b"a model"


@pytest.mark.parametrize("command", [["train"], ["config", "show", "train"]])
def test_an_empty_name_of_a_scan_is_refused(ptycho: Run, command: list[str]) -> None:
    code, shown, said = ptycho(*command, "")
    assert (code, shown) == (2, "")
    assert told(said)[0] == ("training.train_data_file", "argument")


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
    renamed, foreign = done.stderr.splitlines()
    assert renamed.startswith("warning: PTYCHO_EXEC_LR ")
    assert renamed.endswith(" PTYCHO_EXEC_LEARNING_RATE.")
    assert foreign.startswith("warning: PTYCHO_EXEC_OF_MY_OWN: ")


def test_what_a_recipe_that_is_missing_may_say_is_not_missed(ptycho: Run) -> None:
    for recipe in ("standrad", "gone.toml"):
        names = [name for name, *_ in told(ptycho("train", "nofile.npz", "--recipe", recipe)[2])]
        assert names == ["recipe" if recipe == "standrad" else recipe, "Training data file not found"]


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
    patterns, probe = np.ones((n, 32, 32)), np.ones((32, 32), dtype=complex)
    patterns[3, 4, 5] = np.nan
    np.savez(path, diff3d=patterns, xcoords=np.full(n, np.inf), ycoords=np.arange(n), probeGuess=probe)
    code, _, said = ptycho("train", path, "--output-dir", tmp_path / "run", "--quiet", "--accelerator", "cpu")
    assert code == 2
    [patterns_line, positions_line] = [line for line in said.splitlines() if "expected finite" in line]
    assert patterns_line.startswith("ptycho train: diff3d: ")
    assert positions_line.startswith("xcoords: ")


@pytest.mark.parametrize("command", [["train"], ["reconstruct"], ["config", "show", "reconstruct"]])
def test_a_run_in_place_of_its_scan_is_refused_with_its_name(
    ptycho: Run, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("scan.npz")
    write_run(Path("run"), '{"configuration": {"data_file": "scan.npz"}}', ("config.json", "preview.npz"))
    code, _, said = ptycho(*command, "run")
    assert (code, told(said)) == (2, [("run",)])
    assert "scan.npz" in said


def test_a_scan_in_place_of_the_model_is_refused_as_one(ptycho: Run, scan: Path) -> None:
    code, _, said = ptycho("reconstruct", scan, scan, "--accelerator", "cpu")
    assert (code, told(said)) == (2, [("inference.model_path",)])


@pytest.mark.parametrize(
    ("command", "table", "name"),
    [("train", "training", "train_data_file"), ("reconstruct", "solver", "data_file")],
)
def test_a_scan_that_a_file_names_and_is_not_there_is_refused_with_its_line(
    ptycho: Run, tmp_path: Path, command: str, table: str, name: str
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'[{table}]\n{name} = "missing.npz"\n')
    code, _, said = ptycho(command, "--config", file, "--output-dir", tmp_path / "run", "--quiet")
    assert code == 2
    assert f"not found ({file}:2): {tmp_path / 'missing.npz'}: " in said

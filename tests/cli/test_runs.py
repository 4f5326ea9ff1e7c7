"""Real runs on a tiny scan, and who wins on the command line."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest

from ptycho.config.origins import Origin
from ptycho.judgement import Kind, judgement
from ptycho_torch.cli.console import Interruption, watching_for_interrupt
from ptycho_torch.cli.main import build_parser
from ptycho_torch.cli.options import CommandLine
from ptycho_torch.cli.train import asked
from ptycho_torch.config_factory import TrainingPayload, create_training_payload
from ptycho_torch.runs.training import train
from ptycho_torch.simulate import simulate_scan

pytestmark = pytest.mark.integration

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
SHORT = ("--nepochs=1", "--n-unrolled-steps=1", "--n-filters-scale=1", "--accelerator=cpu", "--batch-size=16")


def payload(scan: Path, run_dir: Path, *words: object) -> TrainingPayload:
    given = ("--output-dir", run_dir, *words)
    options = build_parser().parse_args(["train", str(scan), *map(str, given)])
    return create_training_payload(None, None, request=asked(CommandLine.of(options)))


def test_a_training_leaves_model_history_and_configuration(trained: Path) -> None:
    assert {"wts.h5.zip", "history.csv", "loss.png", "config.json", "run.log", "checkpoints"} <= {
        path.name for path in trained.iterdir()
    }


def test_a_scan_to_validate_on_is_taken_from_its_flag(scan: Path, tmp_path: Path) -> None:
    found = payload(scan, tmp_path, f"--test-data-file={scan}")
    assert found.tf_training_config.test_data_file == scan
    assert found.sources["training.test_data_file"].locator == "--test-data-file"


def test_the_configuration_names_the_origin_of_every_value(trained: Path, scan: Path) -> None:
    origins = json.loads((trained / "config.json").read_text())["origins"]
    assert origins["training.nepochs"]["locator"] == "--nepochs"
    assert origins["training.optimizer"] | {"shadowed": []} == {
        "kind": "recipe",
        "locator": "standard",
        "raw": None,
        "value": "adamw",
        "shadowed": [],
    }
    assert origins["execution.accelerator"]["locator"] == "--accelerator"
    assert origins["model.N"]["kind"] == "inferred"


def test_a_reconstruction_prints_one_line_with_figures_and_picture(
    ptycho: Run, scan: Path, trained: Path, tmp_path: Path
) -> None:
    code, out, said = ptycho(
        "reconstruct", trained / "wts.h5.zip", scan, "--output-dir", tmp_path, "--accelerator", "cpu"
    )
    assert code == 0, said
    line, *rest = out.splitlines()
    assert rest == []
    assert line.startswith("R factor 0.")
    assert ": the picture " in line
    assert said.splitlines()[-1].startswith(f"next: ptycho report {tmp_path} --watch ")
    assert line.endswith(f"{tmp_path / 'report.html'}")
    assert (tmp_path / "comparison.png").is_file()
    code, out, _ = ptycho("doctor", tmp_path)
    assert (code, out.splitlines()[-1]) == (0, f"{tmp_path}: no file has changed.")
    assert " ".join((str(trained / "wts.h5.zip"), "ok")) in [
        " ".join(line.split()) for line in out.splitlines()
    ]


def test_a_picture_that_is_not_of_the_object_ends_with_code_3(
    ptycho: Run, scan: Path, trained: Path, tmp_path: Path
) -> None:
    shuffled = tmp_path / "shuffled.npz"
    with np.load(scan) as file:
        arrays = dict(file)
    order = np.random.default_rng(0).permutation(len(arrays["xcoords"]))
    np.savez(shuffled, **arrays | {name: arrays[name][order] for name in ("xcoords", "ycoords")})
    words = ("--output-dir", tmp_path / "out", "--accelerator", "cpu", "--quiet")
    code, out, said = ptycho("reconstruct", trained, shuffled, *words)
    assert code == 3
    assert out.startswith("R factor ")
    assert said.splitlines()[-1].startswith(f"ptycho reconstruct: {shuffled}: the picture is not that ")
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert figures["r_factor"] > figures["mean_pattern_r_factor"]


def test_a_reconstruction_lands_beside_the_model(ptycho: Run, scan: Path, trained: Path) -> None:
    code, _, said = ptycho("reconstruct", trained, scan, "--accelerator", "cpu", "--n-groups", 20)
    assert code == 0, said
    name = f"{scan.parent.name}-tiny"  # the scan is not in the working directory
    assert (trained / name / "reconstruction.npz").is_file()


def test_a_training_that_has_not_ended_reconstructs_by_its_latest_sound_checkpoint(
    ptycho: Run, scan: Path, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    words = (run, scan, "--output-dir", tmp_path / "out", "--accelerator", "cpu")
    (run / "wts.h5.zip").unlink()
    (run / "training.json").unlink()
    code, _, said = ptycho("reconstruct", *words)
    assert code == 0, said
    assert f"{run}: the training has not finished; its model after 1 epoch is used, from last.ckpt. " in said
    assert f"Continue with ptycho train --resume {run}." in said
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    code, _, said = ptycho("reconstruct", *words, "--overwrite")
    assert code == 0, said
    assert "passed over: " in said
    assert "from epoch=000-val_loss=" in said
    code, _, said = ptycho("reconstruct", last, scan, "--accelerator", "cpu")
    assert code == 2
    assert f"got the checkpoint '{last}'. Name the folder." in said


def test_a_scan_is_followed_by_the_commands_that_take_it(
    ptycho: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = ptycho("simulate", "--output", "a scan.npz", "--N", 32, "--n-positions", 20)
    assert code == 0
    assert said.splitlines()[-2:] == [
        "next: ptycho reconstruct 'a scan.npz'",
        "next: ptycho train 'a scan.npz'",
    ]
    code, _, said = ptycho("simulate", "--output", "odd.npz", "--N", 50, "--n-positions", 20)
    assert code == 0
    assert "next: ptycho reconstruct odd.npz" in said
    assert "next: ptycho train" not in said
    assert "a network takes multiples of 16 from 32 up, see --crop and --pad" in said
    code, _, said = ptycho("import", "odd.npz", "-o", "cut.npz", "--crop", 48)
    assert (code, said.splitlines()[-1]) == (0, "next: ptycho train cut.npz")


def test_the_demo_shows_the_truth_beside_the_picture(ptycho: Run, tmp_path: Path) -> None:
    words = ("demo", "--output-dir", tmp_path, "--N", 32, "--n-positions", 60, *SHORT)
    code, out, said = ptycho(*words)
    assert code == 0, said
    assert (tmp_path / "scan.npz").is_file()
    assert f"picture        {tmp_path / 'demo.png'} (the solver above, the network, the truth below)" in out
    kinds: tuple[Kind, Kind] = ("solver", "network")
    figures = [
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("solver", "reconstruction")
    ]
    for name, found in zip(kinds, figures, strict=True):
        assert re.search(rf"^{name} +amplitude {found['amplitude_psnr_db']:.1f} dB", out, re.MULTILINE)
        headline = judgement(found, name).headline
        assert re.search(rf"^ +{headline}; \S+report\.html$", out, re.MULTILINE | re.IGNORECASE)
    page = tmp_path / "compare.html"
    assert said.splitlines()[-1] == f"next: open {page} in a browser"
    assert all(f"{tmp_path / name}" in page.read_text() for name in ("solver", "reconstruction"))
    for line in out.splitlines():
        for word in line.split():
            if word.startswith(str(tmp_path)):
                assert Path(word.rstrip(",:;")).is_file()
    for name, table in ((".", "training"), ("reconstruction", "inference")):
        origins = json.loads((tmp_path / name / "config.json").read_text())["origins"]
        assert str(Origin.from_dict(origins[f"{table}.n_groups"])) == "recipe demo"
        assert not origins[f"{table}.n_groups"]["shadowed"]


def test_a_demo_that_replaces_a_run_and_fails_leaves_the_run_and_its_scan(
    ptycho: Run, tmp_path: Path
) -> None:
    for name in ("wts.h5.zip", "scan.npz"):
        (tmp_path / name).write_text(name)
    words = ("demo", "--output-dir", tmp_path, "--N", 32, "--n-positions", 60, *SHORT[:-1], "--overwrite")
    code, _, said = ptycho(*words, "--drop-last-batch", "--batch-size=64")
    assert code == 2
    assert "drop_last_batch: expected at least" in said
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: name for name in ("wts.h5.zip", "scan.npz")
    }


def test_a_demo_does_not_replace_a_scan_unasked(ptycho: Run, tmp_path: Path) -> None:
    (tmp_path / "scan.npz").write_text("measured")
    code, _, said = ptycho("demo", "--output-dir", tmp_path, "--N", 32, "--n-positions", 60, *SHORT)
    assert code == 2
    assert "scan.npz: expected a new file; got an existing one" in said
    assert (tmp_path / "scan.npz").read_text() == "measured"


def test_the_domain_of_a_training_holds_until_a_flag_sets_another(
    ptycho: Run, scan: Path, tmp_path: Path
) -> None:
    """Counts that are not whole numbers, in a file that does not state it."""
    counts = simulate_scan(N=32, n_positions=70, nphotons=1e5, seed=3, domain="intensity")
    arrays = {name: np.asarray(getattr(counts, name)) for name in ("xcoords", "ycoords")}
    arrays |= {"probeGuess": counts.probe, "objectTruth": counts.object_truth}
    np.savez(tmp_path / "scan.npz", diff3d=np.asarray(counts.patterns) + np.float32(0.25), **arrays)
    data, run_dir = tmp_path / "scan.npz", tmp_path / "run"
    flag = "--measurement-domain"
    assert (
        ptycho("train", data, "--output-dir", run_dir, flag, "intensity", *SHORT[1:], "--nepochs=3")[0] == 0
    )
    figures = {}
    for domain in ("", "intensity", "amplitude"):
        given = (flag, domain) if domain else ()
        folder = tmp_path / f"as-{domain}"
        code, _, said = ptycho(
            "reconstruct", run_dir, data, "--output-dir", folder, "--accelerator=cpu", "--quiet", *given
        )
        assert code == 0
        assert ("the model was trained on them as intensity" in said) == (domain == "amplitude")
        found = json.loads((folder / "metrics.json").read_text())
        figures[domain] = [found[name] for name in ("amplitude_psnr_db", "phase_psnr_db", "r_factor")]
    assert figures[""] == figures["intensity"]
    assert figures[""][0] > figures["amplitude"][0] + 1
    assert figures[""][2] < 0.7 * figures["amplitude"][2]


def test_a_scan_that_is_cut_short_while_it_is_trained_on_ends_the_training(
    scan: Path, tmp_path: Path
) -> None:
    data, run_dir = tmp_path / "scan.npz", tmp_path / "run"
    shutil.copyfile(scan, data)
    flags = [*SHORT[1:], "--nepochs=400", "--num-workers=2", "--quiet"]
    line = [sys.executable, "-m", "ptycho_torch", "train", str(data), f"--output-dir={run_dir}", *flags]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    job = subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while job.poll() is None and not list(run_dir.glob("checkpoints/last.ckpt")):
            time.sleep(0.1)
        os.truncate(data, 1000)
        out, said = job.communicate(timeout=120)
    finally:
        job.kill()
        job.wait()
    assert (job.returncode, out) == (2, ""), said
    (line,) = [line for line in said.splitlines() if line.startswith("ptycho train: ")]
    assert (
        f"expected the file as it was when it was opened; got one that has changed since then from {data}"
        in line
    )
    assert "Traceback" not in said


def test_the_log_goes_to_the_error_stream_unless_quiet(ptycho: Run, scan: Path, trained: Path) -> None:
    words = ("reconstruct", trained, scan, "--accelerator", "cpu", "--n-groups", 20, "--overwrite")
    assert "patterns are read as amplitude" in ptycho(*words)[2]
    told = ptycho(*words, "--quiet")[2].splitlines()
    assert all(line.startswith("warning: ") for line in told)
    assert logging.getLogger("ptycho").handlers == []


def test_a_flag_beats_the_environment_the_file_and_the_command_line(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[execution]\nlearning_rate = 0.3\n")
    found: list[Any] = []

    def ask(*words: object) -> None:
        config = payload(scan, tmp_path, *words).execution_config
        found.append((config.learning_rate, config.sources["learning_rate"].kind))

    ask()
    ask("--config", file)
    monkeypatch.setenv("PTYCHO_EXEC_LEARNING_RATE", "0.2")
    ask("--config", file)
    ask("--config", file, "--learning-rate", "0.1")
    assert found == [
        (2e-3, "recipe"),
        (0.3, "file"),
        (0.2, "environment"),
        (0.1, "override"),
    ]


def test_a_canonical_flag_beats_the_file_and_the_file_the_command_line(scan: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model:\n  gridsize: 3\n")
    found = [
        payload(scan, tmp_path, *words).tf_training_config.model.gridsize
        for words in ((), ("--config", file), ("--config", file, "--gridsize", 1))
    ]
    assert found == [2, 3, 1]


def test_quiet_turns_the_progress_bar_off_against_the_environment(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_ENABLE_PROGRESS_BAR", "true")
    assert payload(scan, tmp_path).execution_config.enable_progress_bar is True
    assert payload(scan, tmp_path, "--quiet").execution_config.enable_progress_bar is False
    assert (
        payload(scan, tmp_path, "--quiet", "--enable-progress-bar").execution_config.enable_progress_bar
        is True
    )


def test_data_and_folder_may_come_from_the_file(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'[training]\ntrain_data_file = "{scan}"\noutput_dir = "{tmp_path / "named"}"\n')
    code, _, said = ptycho("train", "--config", file, *SHORT)
    assert code == 0, said
    assert (tmp_path / "named" / "wts.h5.zip").is_file()


class _Stop(lightning.Callback):
    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number

    def on_train_batch_end(self, *_: object) -> None:
        signal.raise_signal(self.signal_number)


@pytest.fixture
def _signals_work() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in kept.items():  # Lightning ignores interrupts after the first
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals_work")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_exits_as_its_signal_says(scan: Path, tmp_path: Path, number: int, code: int) -> None:
    with pytest.raises(Interruption) as stopped, watching_for_interrupt(tmp_path):
        train(payload(scan, tmp_path, *SHORT, "--lr-warmup-epochs=0"), callbacks=[_Stop(number)])
    assert stopped.value.code == code


EARLY = """
import os, signal, sys
from ptycho_torch.cli.main import main

def hook(event, values):
    if event == "open" and "doctor" in str(values[0]):
        os.kill(os.getpid(), {number})

sys.addaudithook(hook)
sys.exit(main(["doctor", "run"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_a_command_has_begun_gives_no_traceback(number: int, code: int) -> None:
    words = [sys.executable, "-c", EARLY.replace("{number}", str(int(number)))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("words", [["report"], ["compare", "{run}"]])
def test_a_page_may_be_in_a_new_folder(ptycho: Run, trained: Path, tmp_path: Path, words: list[str]) -> None:
    page = tmp_path / "new" / "page.html"
    told = [word.format(run=trained) for word in words]
    assert ptycho(*told, trained, "--output", page)[0] == 0
    assert page.is_file()

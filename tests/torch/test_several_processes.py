"""One training in two real processes: started by Lightning, by torchrun, and as SLURM would start it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from ptycho_torch.bundle import load_bundle
from tests.events import events_of
from tests.wires import program

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FLAGS = (
    *("--n-unrolled-steps=1", "--n-filters-scale=1", "--n-physics-steps=1", "--gridsize=1", "--n-groups=48"),
    *("--nepochs=2", "--val-split=0", "--accelerator=cpu", "--optimizer=sgd", "--learning-rate=0.3"),
)
ENVIRON = {"PYTHONPATH": str(ROOT), "PTYCHO_EXEC_STRATEGY": "ddp", "PTYCHO_EXEC_SEED": "7"}
ENVIRON |= {"PTYCHO_EXEC_PRECISION": "64-true"}  # so that rounding hides nothing
ENVIRON |= {"PTYCHO_EXEC_PREVIEW_EVERY": "1"}


BUSY_S = 300
"""A start of several processes takes ten seconds, and minutes on a machine that does much else."""


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, **ENVIRON, **more}


def training(file: Path, run_dir: Path, batch_size: int) -> list[str]:
    return [*program(), "train", str(file), f"--output-dir={run_dir}", f"--batch-size={batch_size}", *FLAGS]


def reconstruction(run_dir: Path, file: Path, output_dir: Path) -> list[str]:
    return [
        *program(),
        "reconstruct",
        str(run_dir),
        str(file),
        f"--output-dir={output_dir}",
        "--accelerator=cpu",
    ]


def finished(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=environ(**more), capture_output=True, text=True, timeout=BUSY_S)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def alone(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with the batch of both."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    finished([sys.executable, *training(tiny_file, run_dir, 8)])
    finished([sys.executable, *reconstruction(run_dir, tiny_file, run_dir / "picture")])
    return run_dir


def by_lightning(command: list[str]) -> str:
    done = finished([sys.executable, *command], PTYCHO_EXEC_N_DEVICES="2")
    return done.stdout + done.stderr


def by_torchrun(command: list[str]) -> str:
    port = find_free_network_port()
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    done = finished([sys.executable, *launcher, *command], PTYCHO_EXEC_N_DEVICES="2")
    return done.stdout + done.stderr


def together(command: list[str], *told: dict[str, str]) -> str:
    """Start one process for each set of variables, and wait for all of them."""
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env=environ(MASTER_ADDR="127.0.0.1", **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for variables in told
    ]
    try:
        said = [process.communicate(timeout=BUSY_S)[0] for process in started]
    finally:
        for process in started:  # where one has failed the other waits for it
            process.kill()
    assert [process.returncode for process in started] == [0] * len(told), said
    return "".join(said)


def by_slurm(command: list[str]) -> str:
    """What srun does: it starts every process with the variables of its task."""
    job = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "MASTER_PORT": str(find_free_network_port()),
        "PTYCHO_EXEC_N_DEVICES": "2",
    }
    return together(command, *({**job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"))


def by_two_nodes(command: list[str]) -> str:
    """Two nodes with a process each, which both happen to be this machine."""
    job = {"MASTER_PORT": str(find_free_network_port()), "PTYCHO_EXEC_NUM_NODES": "2"}
    return together(command, *({**job, "NODE_RANK": rank, "LOCAL_RANK": "0"} for rank in "01"))


each_launcher = pytest.mark.parametrize("launch", [by_lightning, by_torchrun, by_slurm, by_two_nodes])


@pytest.mark.proves("num_nodes", seen="one process on each of two nodes train as one does on twice the batch")
@pytest.mark.proves("n_devices", seen="the same with two processes on one node")
@each_launcher
def test_two_processes_train_one_model_and_the_first_one_writes(
    launch: Any, alone: Path, tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    said = launch(training(tiny_file, run_dir, 4))
    assert said.count("trained for 2 epochs") == 1
    assert said.count("training on 48 groups") == 1
    assert (run_dir / "run.log").read_text().count("training on 48 groups") == 1
    names = {path.name for path in run_dir.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("epoch=")} == {
        *("config.json", "history.csv", "last.ckpt", "loss.png", "run.log", "wts.h5.zip"),
        *("training.json", "report.html", "preview.npz", "preview.png"),
    }
    assert said.count("R factor after epoch 1") == 1
    record = json.loads((run_dir / "config.json").read_text())
    assert record["origins"]["execution.seed"]["locator"] == "PTYCHO_EXEC_SEED"
    rows, expected = (
        list(csv.DictReader((path / "history.csv").read_text().splitlines())) for path in (run_dir, alone)
    )
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == ["6", "12"]
    for row, other in zip(rows, expected, strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-5)
    weights, others = (load_bundle(path).state_dict for path in (run_dir, alone))
    for name in others:
        torch.testing.assert_close(weights[name], others[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("launch", [by_lightning, by_torchrun])
def test_two_processes_reconstruct_one_object_and_the_first_one_writes(
    launch: Any, alone: Path, tiny_file: Path, tmp_path: Path
) -> None:
    said = launch(reconstruction(alone, tiny_file, tmp_path))
    assert said.count("R factor") == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        *(
            "config.json",
            "run.log",
            "metrics.json",
            "patterns.npz",
            "reconstruction.npz",
            "reconstruction.png",
            "report.html",
            "comparison.png",
        )
    }
    shared, one = (np.load(path / "reconstruction.npz") for path in (tmp_path, alone / "picture"))
    np.testing.assert_allclose(shared["object"], one["object"], rtol=0, atol=1e-6)
    told, expected = (
        json.loads((path / "metrics.json").read_text()) for path in (tmp_path, alone / "picture")
    )
    assert told["n_patterns_used"] == expected["n_patterns_used"]
    assert told["r_factor"] == pytest.approx(expected["r_factor"], rel=1e-5)


@pytest.mark.proves("n_devices", seen="two processes find the object of one, without a network")
def test_two_processes_solve_for_the_object_of_one(tiny_file: Path, tmp_path: Path) -> None:
    settings = ("--n-iterations=24", "--prior=tv", "--refine-probe=true", "--refine-intensities")
    settings += ("--refine-positions", "--positions-from=6", "--accelerator=cpu", "--num-threads=1")
    settings += ("--logger-backend=tensorboard",)
    found = []
    for n_devices in ("1", "2"):
        folder = tmp_path / n_devices
        words = ("reconstruct", str(tiny_file), f"--output-dir={folder}", *settings)
        finished([sys.executable, *program(), *words], PTYCHO_EXEC_N_DEVICES=n_devices)
        with np.load(folder / "reconstruction.npz", allow_pickle=False) as file:
            found.append({name: file[name] for name in file.files})
        assert [one.step for one in events_of(folder).Images("object")] == list(range(1, 25))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-6, atol=1e-6 * np.abs(value).max())

"""Runs that torchrun or srun has started, with other numbers of processes than the knobs say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.checks import machine_failures

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
TORCHRUN |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
SRUN = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


def started(monkeypatch: pytest.MonkeyPatch, launcher: str, here: int, nodes: int) -> None:
    """Set the variables that a launcher sets."""
    told = TORCHRUN | {"WORLD_SIZE": f"{here * nodes}", "LOCAL_WORLD_SIZE": f"{here}"}
    if launcher == "srun":
        told = SRUN | {"SLURM_NTASKS": f"{here * nodes}", "SLURM_NNODES": f"{nodes}"}
        told |= {"SLURM_NTASKS_PER_NODE": f"{here}"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)


def refusals(**knobs: object) -> dict[str, str]:
    return dict(machine_failures(PyTorchExecutionConfig(accelerator="cpu", strategy="ddp", **knobs)))


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
@pytest.mark.parametrize(("here", "nodes"), [(1, 1), (2, 1), (2, 2)])
def test_the_number_that_was_started_passes(
    launcher: str, here: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, launcher, here, nodes)
    assert refusals(n_devices=here, num_nodes=nodes) == {}


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_another_number_is_refused_by_name(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, launcher, 2, 2)
    told = f"expected 2, as {launcher} has for this run: 2 processes on each of 2 machines"
    assert refusals(n_devices=4, num_nodes=1) == {
        "n_devices": f"n_devices: {told}; got 4 from argument. Make processes on each machine and n_devices agree.",
        "num_nodes": f"num_nodes: {told}; got 1 from argument. Make machines and num_nodes agree.",
    }


def test_tasks_that_are_not_told_by_machine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, "srun", 2, 1)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    assert "Pass --ntasks-per-node to srun or sbatch" in refusals(n_devices=2)["n_devices"]
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert refusals(n_devices=1) == {}


def test_a_variable_of_torchrun_that_was_left_behind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "left")
    (message,) = refusals(n_devices=1).values()
    assert message.startswith(
        "TORCHELASTIC_RUN_ID: expected with the other variables of torchrun; got it without "
    )
    assert message.endswith("Unset it, or start the run with torchrun.")


def test_processes_that_would_train_alone_in_one_folder_are_refused(tiny_file: Path, tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "ptycho_torch"]
    done = subprocess.run(
        [sys.executable, *command, "train", str(tiny_file), "--accelerator=cpu", "--output-dir=run"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "n_devices: expected 2, as torchrun has for this run" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow and its packages
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "nonsense://place"])
def test_a_server_that_cannot_be_used_is_refused_before_data_are_read(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from ptycho_torch.runtime.checks import logger_failures

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    (failure,) = logger_failures(PyTorchExecutionConfig(logger_backend="mlflow"))
    assert failure.message.startswith(
        "logger_backend: expected a logger that can be written to; got 'mlflow'"
    )
    assert "mlflow reports for MLFLOW_TRACKING_URI: " in failure.message
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
    assert list(logger_failures(PyTorchExecutionConfig(logger_backend="mlflow", disable_mlflow=True))) == []


def test_a_key_that_wandb_refuses_is_refused_before_data_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    from ptycho_torch.runtime.checks import logger_failures

    monkeypatch.setenv("WANDB_API_KEY", "short")
    (failure,) = logger_failures(PyTorchExecutionConfig(logger_backend="wandb"))
    wandb.teardown()  # which keeps the key otherwise
    assert "wandb says: WANDB_API_KEY invalid" in failure.message

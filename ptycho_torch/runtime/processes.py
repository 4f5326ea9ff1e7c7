"""Where the other processes of a run can be started from, and where not."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from lightning.fabric.plugins.environments import (
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from ptycho.config.errors import Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.failures import refused

_LAUNCHERS = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
_OF_TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def is_first_process() -> bool:
    """Whether this is the process of a run that writes; as told by torchrun, SLURM, MPI or Lightning's own launcher.

    Until a Trainer is built Lightning overlooks NODE_RANK, by which the nodes of a run started by hand are told apart.
    """
    return rank_zero_only.rank == 0 and os.environ.get("NODE_RANK", "0") == "0"


def is_launched() -> bool:
    """Whether torchrun, srun or the like started this process, and the others with it."""
    return any(launcher.detect() for launcher in _LAUNCHERS)


class Launch(NamedTuple):
    """How many processes a launcher has started."""

    launcher: str
    """torchrun or srun."""
    here: int
    """On each machine."""
    nodes: int
    """Machines."""


def launch() -> Launch | None:
    """What torchrun or srun has started, from their variables; None without them."""
    if TorchElasticEnvironment.detect():
        here = _number("LOCAL_WORLD_SIZE")
        return Launch("torchrun", here, max(1, _number("WORLD_SIZE") // here))
    if SLURMEnvironment.detect():
        nodes = _number("SLURM_NNODES")
        return Launch("srun", _number("SLURM_NTASKS_PER_NODE", _number("SLURM_NTASKS") // nodes or 1), nodes)
    return None


def _number(variable: str, otherwise: int = 1) -> int:
    """What a variable says, where it says a number >= 1."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) else otherwise


def launcher_failures(config: PyTorchExecutionConfig, n_devices: int) -> Iterator[Failure]:
    """Another number of processes than the knobs say, started by torchrun or srun.

    Without this check each process of a run on one device would train for itself, and write over the others.

    Args:
        config: gives num_nodes.
        n_devices: resolved.
    """
    if TorchElasticEnvironment.detect() and (missing := sorted(_OF_TORCHRUN - os.environ.keys())):
        name = "TORCHELASTIC_RUN_ID"
        rule = f"expected with the other variables of torchrun; got it without {', '.join(missing)}"
        yield Failure(name, f"{name}: {rule}. Unset it, or start the run with torchrun.")
        return
    started = launch()
    if started is None:
        return
    launcher, here, nodes = started
    if launcher == "srun" and _number("SLURM_NTASKS") > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        rule = "a number of processes that srun has for each machine"
        yield refused(
            config, "n_devices", rule, "Pass --ntasks-per-node to srun or sbatch, not --ntasks alone."
        )
        return
    for name, asked, expected in (("n_devices", n_devices, here), ("num_nodes", config.num_nodes, nodes)):
        if asked != expected:
            each = "processes on each machine" if name == "n_devices" else "machines"
            rule = f"{expected}, as {launcher} has for this run: {here} processes on each of {nodes} machines"
            yield refused(config, name, rule, f"Make {each} and {name} agree.")


WORKERS_FOR_EACH_CPU = 16
"""Loading processes that a run may ask for."""


def loading_failures(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    """Loading processes where this process may start none, or more than a machine of this size can hold."""
    most = WORKERS_FOR_EACH_CPU * (os.cpu_count() or 1)
    if config.num_workers > most:
        rule = f"at most {most} on this machine, {WORKERS_FOR_EACH_CPU} for each CPU"
        yield refused(config, "num_workers", rule, "A few per device are enough.")
    if config.num_workers > 0 and multiprocessing.current_process().daemon:
        rule = "0 in a daemonic process, such as a worker of multiprocessing.Pool, which cannot start others"
        yield refused(config, "num_workers", rule, "Set num_workers=0, or run in a separate process.")


def start_failures(config: PyTorchExecutionConfig, accelerator: str, *, launched: bool) -> Iterator[Failure]:
    """Why the processes of a training on several devices cannot be started from here.

    Args:
        config: strategy ddp starts the script again, ddp_spawn starts empty processes, ddp_notebook copies this one.
        accelerator: resolved.
        launched: whether torchrun, srun or the like has started them all.
    """
    strategy, interactive = config.strategy, hasattr(sys, "ps1")
    if interactive and strategy not in ("auto", "ddp_notebook"):
        rule = "auto or ddp_notebook in an interactive session with several devices"
        yield refused(config, "strategy", rule, "Set one of these, set n_devices=1, or run a script.")
    elif strategy == "ddp_notebook" or interactive:
        yield from _fork_failures(config, accelerator)
    elif strategy == "ddp_spawn":
        yield from _spawn_failures(config)
    elif not launched and not _can_start_again():
        rule = "ddp_spawn or ddp_notebook, since there is no script file to start again for each of several devices"
        yield refused(config, "strategy", rule, "Set one of these, set n_devices=1, or write a script.")


def _fork_failures(config: PyTorchExecutionConfig, accelerator: str) -> Iterator[Failure]:
    if "fork" not in multiprocessing.get_all_start_methods():
        rule = "one that works without forking processes, which this system does not do"
        yield refused(config, "strategy", rule, "Run a script with strategy='ddp', or set n_devices=1.")
    elif accelerator == "cuda" and torch.cuda.is_initialized():
        rule = "one that does not fork this process, which has used CUDA already"
        cure = "Restart the session and train first, run a script with strategy='ddp', or set n_devices=1."
        yield refused(config, "strategy", rule, cure)
    yield from _daemon_failures(config)


def _spawn_failures(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    # the standard library and Lightning ask the same before they start a process
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        rule = "ddp or auto in a script that trains as soon as it is imported"
        cure = "Put the training below `if __name__ == '__main__':`, or set one of these."
        yield refused(config, "strategy", rule, cure)
    main = sys.modules["__main__"]
    script = vars(main).get("__file__")
    if vars(main).get("__spec__") is None and script is not None and not os.path.exists(script):
        rule = "ddp_notebook, or n_devices=1, for a program read from standard input"
        yield refused(config, "strategy", rule, "Set one of these, or write a script.")
    yield from _daemon_failures(config)


def _daemon_failures(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    if multiprocessing.current_process().daemon:
        rule = (
            "ddp in a daemonic process, such as a worker of multiprocessing.Pool, which cannot start others"
        )
        yield refused(config, "strategy", rule, "Set n_devices=1, or run in a separate process.")


def _can_start_again() -> bool:
    """Whether this program can be started again by its command: a module, or a script in a file."""
    return vars(sys.modules["__main__"]).get("__spec__") is not None or os.path.exists(sys.argv[0])

"""What a run sets for the whole process, and restores afterwards."""

import contextlib
import logging
import os
import random
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.threads import computing_threads
from ptycho_torch.stopping import stoppable

log = logging.getLogger(__name__)

_SET_BY_OTHERS = ("CUBLAS_WORKSPACE_CONFIG", "MLFLOW_TRACKING_URI", "PL_SEED_WORKERS")
_CHATTY_LOGS = (
    "lightning.fabric.utilities.distributed",
    "lightning.fabric.utilities.rank_zero",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.loggers.mlflow",
    "mlflow.store.db.utils",
)
_TIPS = (
    "Initializing distributed:",
    "Loading `train_dataloader` to estimate",
    "`Trainer.fit` stopped:",  # at its last epoch, or as its own callbacks tell
    "Tip: For seamless",  # products of Lightning's maker
    "GPU available:",  # ours to say, in terms of the accelerator knob
    "TPU available:",
    "Experiment with name",  # a new run database is filled
    "database tables",
)
_ADVICE = (
    # the worker count and its persistence are knobs, and small scans need no workers
    r"The '\w+' does not have many workers",
    r"Consider setting `persistent_workers=True`",
    # said once, by the checks
    r"'pin_memory' argument is set as true but",
    # a run without validation data is a choice
    r"You defined a `validation_step` but have no `val_dataloader`",
    r"Total length of `list` across ranks is zero",
    # a second run in one folder continues or replaces the first
    r"Checkpoint directory .* exists and is not empty",
    # a training that goes on may keep other checkpoints than before
    r"Be aware that when using `ckpt_path`, callbacks used to create the checkpoint",
    # the loaders of such a training begin where the checkpoint was written
    r"You're resuming from a checkpoint that ended before the epoch ended",
    # Lightning's own use of a deprecated name of torch
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def seed_everything(config: PyTorchExecutionConfig) -> None:
    """Seed the generators of Python, numpy and torch (every device) with `seed`."""
    random.seed(config.seed)
    np.random.seed(config.seed)
    torch.manual_seed(config.seed)


@contextlib.contextmanager
def variables(told: Mapping[str, str], *others: str) -> Iterator[None]:
    """Set environment variables meanwhile; afterwards they are as before, and so are others that libraries set."""
    before = {name: os.environ.get(name) for name in (*told, *others)}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_one_at_a_time: Final = threading.RLock()
"""Held by a run: seeds, determinism, variables, filters of warnings, log handlers are those of the process."""


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait for a run in another thread of this process."""
    if not _one_at_a_time.acquire(blocking=False):
        log.warning("another run of this process is in progress; this one waits until it ends")
        _one_at_a_time.acquire()
    try:
        yield
    finally:
        _one_at_a_time.release()


@contextlib.contextmanager
def run_environment(config: PyTorchExecutionConfig) -> Iterator[None]:
    """Seed, make torch as deterministic as the configuration says, and silence advice that does not apply.

    Afterwards torch's determinism and number of threads, the environment variables that go with them, the filters of
    warnings and the generators (those of CUDA where it was started before) are as before. `deterministic=True` refuses
    operations that have no deterministic implementation on the device, 'warn' warns of them. Runs in several threads of
    a process take turns, and SIGTERM ends a run in the main thread (see `ptycho_torch.stopping`).
    """
    with _alone(), stoppable(), computing_threads(config):
        yield from _set_for_a_run(config)


def _set_for_a_run(config: PyTorchExecutionConfig) -> Iterator[None]:
    _keep_freed_memory()
    # the ranks of a distributed run seed themselves, and their shared sampler, from the first variable; Lightning sets
    # the number of threads itself where the second is missing
    told = {"PL_GLOBAL_SEED": str(config.seed), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    if config.deterministic:
        told["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # needed by deterministic CUDA matrix products
    determinism, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    fills = torch.utils.deterministic.fill_uninitialized_memory
    # a process that forks must not start CUDA
    generators = isolate_rng(include_cuda=torch.cuda.is_initialized())
    generators.__enter__()
    try:
        torch.set_deterministic_debug_mode(
            {True: "error", "warn": "warn", False: "default"}[config.deterministic]
        )
        torch.backends.cudnn.benchmark = not config.deterministic
        # deterministic torch fills every new array with NaN, to show who reads it too soon: a tenth of a reconstruction
        torch.utils.deterministic.fill_uninitialized_memory = False
        seed_everything(config)
        with variables(told, *_SET_BY_OTHERS), _quiet_lightning():
            yield
    finally:
        torch.set_deterministic_debug_mode(determinism)
        torch.utils.deterministic.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmark
        generators.__exit__(None, None, None)  # told of an error, it would put nothing back


def _keep_freed_memory() -> None:
    """Let the C library keep some of what tensors free, rather than return it to the system and ask again.

    Fresh pages cost a reconstruction on a CPU a sixth of its time. glibc keeps up to twice the size of the largest
    block of at most 32 MiB that was freed; this one is never written to, so it takes no memory. Elsewhere: no effect.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    return not any(tip in record.getMessage() for tip in _TIPS)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    logs = [logging.getLogger(name) for name in _CHATTY_LOGS]
    for log in logs:
        log.addFilter(_is_worth_saying)
    try:
        with warnings.catch_warnings():
            for advice in _ADVICE:
                warnings.filterwarnings("ignore", message=advice)
            yield
    finally:
        for log in logs:
            log.removeFilter(_is_worth_saying)

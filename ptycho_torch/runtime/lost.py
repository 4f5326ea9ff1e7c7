"""What a run says where the machine takes something away from it: a process, memory, files."""

import contextlib
import errno
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Final

import torch

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.run_files import CHECKPOINTS, STATE
from ptycho_torch.stopping import RunError, lost_process, serve_the_last_step, stop_if_asked

SETTLE_S: Final = 0.3
"""Seconds to wait for messages that follow the error."""

_SHARED: Final = (
    "num_workers: expected enough shared memory (/dev/shm) for the batches of the loading processes; it is full. "
    "Enlarge it (docker run --shm-size=8g), lower num_workers or prefetch_factor, or set num_workers=0"
)
_HANDLES: Final = (
    "num_workers: expected enough open files for the batches of the loading processes; the limit is reached. "
    "Raise it (ulimit -n), lower num_workers or prefetch_factor, or set num_workers=0"
)
_MEMORY: Final = (
    "batch_size: expected a training that fits into the memory of the device; it ran out. Lower batch_size (a higher "
    "accum_steps keeps the effective batch), or use a larger device"
)
_MEMORY_OF_RECONSTRUCTION: Final = (
    "inference_batch_size: expected a reconstruction that fits into the memory of the device; it ran out. Lower "
    "inference_batch_size, correct positions far from the others (the object reaches as far as they do), or use a "
    "larger device"
)
_KNOWN: Final = (
    (r"worker.*bus error|shared memory.*No space left|unable to (write|mmap).*torch_", _SHARED),
    (r"Too many open files|received 0 items of ancdata", _HANDLES),
    (r"DefaultCPUAllocator|out of memory|Cannot allocate memory", _MEMORY),
)
_EXIT_CODE: Final = 100
"""Of a loading process that a known cause ended, and that cause's number more."""
_WORKER: Final = re.compile(r"DataLoader worker \(pid\D*([\d, ]+)\) (.*?)(?:\. |\.?$)", re.MULTILINE)
_OF_COLLECTIVES: Final = re.compile(
    r"gloo|NCCL|Connection (closed|reset) by peer|Broken pipe|Socket Timeout", re.IGNORECASE
)


@contextlib.contextmanager
def naming_losses(config: PyTorchExecutionConfig, run_dir: Path, *, trains: bool = True) -> Iterator[None]:
    """Word what ends a run for a reason outside the package: its usual cause, and how to go on.

    Args:
        config: of the run.
        run_dir: its folder.
        trains: whether it is a training.

    Raises:
        RunError: a process of the run is gone, or memory, shared memory or file handles ran out.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError, MemoryError) as error:
        later = _settled()
        stop_if_asked()
        causes = (_cause(each, config) for each in (*_origins(later), *_origins(error)))
        cause = next(filter(None, causes), None)
        if isinstance(error, RunError) or cause is None:
            raise
        traceback.clear_frames(
            error.__traceback__
        )  # they hold the files and processes that there are too many of
        cause = cause if trains or cause != _MEMORY else _MEMORY_OF_RECONSTRUCTION
        raise RunError(f"{cause}. {_way_on(run_dir)}".strip()) from error


def begin_to_load(worker: int) -> None:
    """In a loading process: end it where a batch cannot be handed over, which the run would wait for without end.

    Such an error arises in a thread of `multiprocessing`, which prints it and goes on. The exit code tells the cause.
    A signal to the whole group of the run ends it after the step that the run is in.
    """
    serve_the_last_step()

    def leave(error: BaseException) -> None:
        number = _known(error)
        if number is None and not isinstance(error, EOFError | ConnectionError):  # as where the run is gone
            traceback.print_exception(error)
        os._exit(1 if number is None else _EXIT_CODE + number)

    Queue._on_queue_feeder_error = staticmethod(lambda error, batch: leave(error))  # pyright: ignore[reportAttributeAccessIssue]
    sys.excepthook = lambda kind, error, trace: leave(error)


def _settled() -> Exception | None:
    """Wait for what is told a little later: a signal to all processes of a run, and how a loading process ended."""
    try:
        time.sleep(SETTLE_S)
    except RuntimeError as error:
        return error
    return None


def _origins(error: BaseException | None) -> Iterator[BaseException]:
    """What an error arose from, the origin first, and the error itself."""
    if error is not None:
        yield from _origins(error.__cause__ or error.__context__)
        yield error


def _made_a_lock(error: BaseException) -> bool:
    """Whether an error arose where multiprocessing makes a lock, which lies in shared memory."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "synchronize.py"


def _known(error: BaseException) -> int | None:
    found = (n for n, (pattern, _) in enumerate(_KNOWN) if re.search(pattern, str(error), re.I | re.DOTALL))
    return next(found, None)


def _cause(error: BaseException, config: PyTorchExecutionConfig) -> str | None:
    text = str(error)
    if (number := _known(error)) is not None:
        return _KNOWN[number][1]
    if (left := re.search(r"exit code (\d+)", text)) and 0 <= int(left[1]) - _EXIT_CODE < len(_KNOWN):
        return _KNOWN[int(left[1]) - _EXIT_CODE][1]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and _made_a_lock(error):
        return _SHARED
    if isinstance(error, MemoryError):
        return _MEMORY
    if found := _WORKER.search(text):
        return (
            f"num_workers: expected loading processes that stay ({config.num_workers}); one {found[2]} "
            "(usually because memory ran out). Lower num_workers or prefetch_factor, or ask for more memory"
        )
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several and (_OF_COLLECTIVES.search(text) or isinstance(error, torch.distributed.DistError)):
        how = lost_process() or "the connection to it closed"
        return f"n_devices: expected all processes of the run to stay; one is gone: {how}"
    return None


def _way_on(run_dir: Path) -> str:
    if any((run_dir / CHECKPOINTS).glob("*.ckpt")):
        return f"Continue with ptycho train --resume {run_dir}."
    states = [run_dir / STATE, *run_dir.glob(f"*/{STATE}")]
    return f"Continue with ptycho reconstruct --resume {run_dir}." if any(map(Path.is_file, states)) else ""

"""The doors through which files come in, and what an orderly answer is: taken, or one error that names the thing."""

import contextlib
import io
import logging
import re
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import DataError, RawData, load_scans
from ptycho.run_files import CHECKPOINTS
from ptycho.run_record import read_record
from ptycho_torch.api.base_api import ConfigManager, DataloaderFormats, PtychoDataLoader
from ptycho_torch.bundle import load_bundle
from ptycho_torch.cli.main import main
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_params import DataConfig
from ptycho_torch.config_payload import TrainingPayload
from ptycho_torch.runs.changes import recorded_payload
from ptycho_torch.runs.checkpoints import latest
from ptycho_torch.workflows.components import load_inference_bundle_torch, run_cdi_example_torch
from tests.faults.children import LONGEST_S
from tests.faults.conftest import SMALL

ORDERLY = (ConfigError, DataError, OSError)
"""What a Python function may raise for a file that is wrong."""

MORE_MEMORY = 4 * 2**30
"""Bytes that a call may take in addition: a hundred times what the files of these tests need."""

IDLE = 0.01
"""A process that computes for a smaller part of the time waits."""

RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, change colours, break lines or turn the text around."""

COMMAND = (0, 2)
"""Exit codes of a command that takes or refuses a file."""
RUN = (*COMMAND, 3)
"""Those of a run; 3: it took the file, and did not learn, or the picture is not that of the object."""
COMPARISON = (*RUN, 1)
"""Those of `ptycho doctor RUN`; 1: a file of the run has changed or is missing; 3: the run came to nothing."""

INJECTED = "INJECTED"
"""Begins a line where a line break in a name reached the output."""


class Hang(BaseException):
    """A call computed or waited longer than it may; no error, so that nobody handles it."""


class Answer(NamedTuple):
    """How a door answered."""

    code: int
    """0 where the file was taken, 2 where it was refused, another of the door's own, or -1 where something is wrong."""
    said: str
    """What was printed, warned, logged or raised."""
    problem: str | None
    """What is wrong with the answer itself."""
    value: Any = None
    """What the function returned."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bound the time and the memory that a call takes: how long it computes, and how long it does nothing.

    On a machine that does much else neither is the time that passes.

    Raises:
        Hang: it took longer.
        MemoryError: it asked for more.
    """

    computed_s = [time.process_time()]

    def ring(*_: object) -> None:
        computed_s.append(time.process_time())
        if computed_s[-1] - computed_s[0] > LONGEST_S:
            raise Hang(f"computes for more than {LONGEST_S:.0f} s")
        if computed_s[-1] - computed_s[-2] < IDLE * LONGEST_S:
            raise Hang(f"waits for more than {LONGEST_S:.0f} s")

    size = int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
    kept, before = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE_MEMORY, kept[1]))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, kept)


@contextlib.contextmanager
def _heard(said: io.StringIO) -> Iterator[None]:
    """Collect what is printed, warned and logged, as in a program of a user."""
    handler = logging.StreamHandler(said)
    packages = [logging.getLogger(name) for name in ("ptycho", "ptycho_torch")]
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *_, **__: said.write(f"{message}\n") and None
        for package in packages:
            package.addHandler(handler)
        try:
            yield
        finally:
            for package in packages:
                package.removeHandler(handler)


def ask(function: Callable[..., Any], *values: Any, codes: tuple[int, ...] = ()) -> Answer:
    """Call a door.

    Args:
        function: what is called.
        *values: with what.
        codes: the exit codes of a command, which raises nothing but an exit; none for another function.
    """
    said, code, problem, value = io.StringIO(), 0, None, None
    started_s = time.process_time()
    with _heard(said):
        try:
            with bounded():
                value = function(*values)
                code = value if codes else 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        except Hang as error:
            code, problem = -1, f"hang: {error}"
        except BaseException as error:
            code = 2
            said.write(str(error))
            if codes or not isinstance(error, ORDERLY):
                code, problem = -1, f"traceback: {type(error).__name__}: {str(error)[:200]}{_place(error)}"
    text = said.getvalue()
    seconds = time.process_time() - started_s
    if problem is None and seconds > LONGEST_S:
        problem = f"hang: {seconds:.0f} s"
    return Answer(code, text, problem or _disorder(code, text, codes or COMMAND), value)


def _place(error: BaseException) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return f" ({place.tb_frame.f_code.co_filename}:{place.tb_lineno})" if place else ""


def _disorder(code: int, text: str, codes: tuple[int, ...]) -> str | None:
    if "Traceback (most recent call last)" in text:
        return f"traceback in the output: {text[-300:]}"
    if code not in codes:
        return f"exit code {code}: {text[-300:]}"
    if code == 2 and not text.strip():
        return "refused without a word"
    if found := RAW.search(text):
        return f"raw character {found.group()!r} in {text[max(0, found.start() - 60) : found.end() + 30]!r}"
    if re.search(rf"^{INJECTED}", text, re.MULTILINE):
        return f"a line break of a name in {text[:300]!r}"
    return None


@dataclass(frozen=True)
class Place:
    """Where doors find and put things: the file in question, a sound model and scan, and a new folder."""

    file: Path
    model: Path
    scan: Path
    new: Path


Door = Callable[[Place], Answer]


def answers(
    doors: Mapping[str, Door], file: Path, model: Path, scan: Path, folder: Path
) -> Iterator[tuple[str, Answer, Path]]:
    """Put a file through doors, each from within a new folder of its own; name, answer and folder of each."""
    for number, (name, door) in enumerate(doors.items()):
        new = folder / f"out-{number}"
        new.mkdir()
        with contextlib.chdir(new):
            answer = door(Place(file, model, scan, new))
        yield name, answer, new


def _command(*words: Any, codes: tuple[int, ...] = COMMAND) -> Answer:
    return ask(lambda: main([str(word) for word in words]), codes=codes)


def _workflow(train_data: Any, output_dir: Path) -> Any:
    model = ModelConfig(N=0, gridsize=1, n_filters_scale=1, n_unrolled_steps=1, n_physics_steps=1)
    config = TrainingConfig(model=model, nepochs=1, batch_size=12, n_groups=24, output_dir=output_dir)
    execution = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)
    return run_cdi_example_torch(train_data, None, config, execution_config=execution)


def _of_ptychodus(file: Path, new: Path) -> Any:
    configs = ConfigManager(DataConfig(N=32, C=1, grid_size=(1, 1), measurement_domain="amplitude"))
    folder = new / "of-ptychodus"
    folder.mkdir(parents=True)
    (folder / file.name).symlink_to(file)
    loader = PtychoDataLoader(folder, configs, DataloaderFormats("lightning_only_module"), new / "out")
    return loader.scans()


READING_SCANS: Mapping[str, Door] = {
    "RawData.from_file": lambda at: ask(RawData.from_file, at.file),
    "load_scans": lambda at: ask(load_scans, at.file),
    "create_training_payload": lambda at: ask(create_training_payload, at.file, at.new / "payload"),
    "ptycho config show train": lambda at: _command(
        "config", "show", "train", at.file, "--output-dir", at.new / "shown"
    ),
}
"""Doors that read a scan, or a part of it."""

RUNNING_SCANS: Mapping[str, Door] = {
    "ptycho train": lambda at: _command(
        "train", at.file, "--output-dir", at.new / "train", "--nepochs=1", "--quiet", *SMALL, codes=RUN
    ),
    "ptycho reconstruct": lambda at: _command(
        *("reconstruct", at.model, at.file, "--output-dir", at.new / "rec", "--accelerator=cpu", "--quiet"),
        codes=RUN,
    ),
    "ptycho reconstruct DATA": lambda at: _command(
        *("reconstruct", at.file, "--output-dir", at.new / "solved", "--accelerator=cpu", "--quiet"),
        "--n-iterations=4",
        codes=RUN,
    ),
    "run_cdi_example_torch": lambda at: ask(_workflow, at.file, at.new / "workflow"),
    "PtychoDataLoader": lambda at: ask(_of_ptychodus, at.file, at.new),
}
"""Doors that go on with what they have read."""

SCANS: Mapping[str, Door] = {**READING_SCANS, **RUNNING_SCANS}

MODELS: Mapping[str, Door] = {
    "load_bundle": lambda at: ask(load_bundle, at.file),
    "load_inference_bundle_torch": lambda at: ask(load_inference_bundle_torch, at.file),
    "create_inference_payload": lambda at: ask(
        create_inference_payload, at.file, at.scan, at.new / "payload"
    ),
    "ptycho config show reconstruct": lambda at: _command("config", "show", "reconstruct", at.file, at.scan),
    "ptycho reconstruct": lambda at: _command(
        *("reconstruct", at.file, at.scan, "--output-dir", at.new / "rec", "--accelerator=cpu", "--quiet"),
        codes=RUN,
    ),
}
"""Doors that read a trained model."""


def resumed_payload(run_dir: Path) -> TrainingPayload:
    """What a training would go on from: its latest checkpoint, and its record."""
    record = read_record(run_dir, "training")
    latest(run_dir / CHECKPOINTS)
    return recorded_payload(record, run_dir, {"nepochs": 4})


RUNS: Mapping[str, Door] = {
    "going on": lambda at: ask(resumed_payload, at.file),
    "ptycho config check": lambda at: _command("config", "check", at.file),
    "ptycho config show train --resume": lambda at: _command("config", "show", "train", "--resume", at.file),
    "ptycho train --resume": lambda at: _command(
        "train", at.scan, "--resume", at.file, "--nepochs=4", "--quiet", codes=RUN
    ),
    "ptycho doctor": lambda at: _command("doctor", at.file, codes=COMPARISON),
    "ptycho reconstruct --resume": lambda at: _command("reconstruct", "--resume", at.file, "--quiet"),
}
"""Doors that read the folder of a run."""

SETTINGS: Mapping[str, Door] = {
    "TrainingConfig.from_file": lambda at: ask(TrainingConfig.from_file, at.file),
    "PyTorchExecutionConfig.from_file": lambda at: ask(PyTorchExecutionConfig.from_file, at.file),
    "ptycho config check": lambda at: _command("config", "check", at.file),
    "ptycho config show train": lambda at: _command("config", "show", "train", "--config", at.file),
    "ptycho config diff": lambda at: _command("config", "diff", at.file, at.file),
    "ptycho train": lambda at: _command(
        "train",
        at.scan,
        "--config",
        at.file,
        "--output-dir",
        at.new / "train",
        "--quiet",
        "--nepochs=1",
        *SMALL,
        codes=RUN,
    ),
}
"""Doors that read a file of settings."""

DOORS: Mapping[str, Mapping[str, Door]] = {
    "scan": SCANS,
    "model": MODELS,
    "run": RUNS,
    "settings": SETTINGS,
}

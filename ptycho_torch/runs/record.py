"""What a run leaves behind about itself: the resolved configuration, versions, the log."""

import contextlib
import functools
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, Final, cast

from ptycho.checksums import Checksums
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.config.paths import absolute
from ptycho.config.section import section_of
from ptycho.escaped import LineFormatter
from ptycho.model_archive import ARCHIVE
from ptycho.recorded import recorded_settings
from ptycho.run_files import LOG, members_in
from ptycho.run_files import RECORD as CONFIGURATION
from ptycho.run_folder import RunFolder
from ptycho.scan_domain import TrainedDomains
from ptycho_torch.json_values import plain
from ptycho_torch.runtime import is_first_process
from ptycho_torch.stopping import Terminated

log = logging.getLogger(__name__)

ENDING: Final = "ptycho_torch.runs.ending"
"""The logger of the lines that tell how a run ended; they are out of date once it has gone on to its end."""
STARTED: Final = ("command_line", "working_directory")
"""What a run that goes on keeps in its record of how it was started."""

PACKAGES = ("ptychopinn", "torch", "lightning", "pydantic", "pydantic-settings", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_configuration(
    run_dir: Path,
    canonical: Any,
    execution: PyTorchExecutionConfig,
    sources: Mapping[str, Origin],
    overrides_applied: Mapping[str, Any],
    facts: Mapping[str, Any],
    scans: Iterable[Path | None] = (),
    kept_origins: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write ``config.json``: every value in force with its origin, and what it was run with.

    Args:
        run_dir: the folder, which exists.
        canonical: TrainingConfig or InferenceConfig.
        execution: the execution configuration.
        sources: origins of the canonical fields.
        overrides_applied: audit trail of the factory.
        facts: further JSON values about the run (measurement domain, number of patterns ...); of one that goes on also
            how it was started, see `as_started`.
        scans: files that the run reads, whose SHA-256 the record holds; None for those in memory.
        kept_origins: those that an earlier part of the run recorded, of values that are still in force.

    Returns:
        The names of files with another content than those of an earlier part of the run.
    """
    sections = [section_of(type(settings)) for settings in (canonical, execution)]
    paths = {name for one in (*sections, *sections[0].nested.values()) for name in one.paths}
    origins = {name: origin.to_dict() for name, origin in sources.items()}
    origins |= {f"execution.{name}": origin.to_dict() for name, origin in execution.sources.items()}
    content = {
        "versions": versions(),
        "command_line": sys.argv,
        "working_directory": os.getcwd(),
        "seed": execution.seed,
        "configuration": _with_places(plain(canonical), paths),
        "execution": _with_places(execution.to_dict(), paths),
        "origins": {name: _placed(origin, name, paths) for name, origin in origins.items()}
        | plain(kept_origins or {}),
        "overrides_applied": {
            name: _placed(origin, name, paths) for name, origin in plain(overrides_applied).items()
        },
        **plain(facts),
    }
    return Checksums(run_dir).write_record(content, [path for path in scans if path is not None])


def as_started(record: Mapping[str, Any]) -> dict[str, Any]:
    """How a run was started, by its record, for the record of a later part of it."""
    return {name: record[name] for name in STARTED if name in record}


def _with_places(values: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Settings with paths from the root, those of held sections too."""
    return {
        name: _with_places(cast(Mapping[str, Any], value), paths)
        if isinstance(value, Mapping)
        else absolute(value)
        if name in paths and value is not None
        else value
        for name, value in values.items()
    }


def _placed(origin: Mapping[str, Any], name: str, paths: Collection[str]) -> Mapping[str, Any]:
    """An origin; that of a path holds it from the root, and beside it the text as written."""
    value = origin.get("value")
    if name.rpartition(".")[2] not in paths or not isinstance(value, str):
        return origin
    raw = value if origin["raw"] is None else origin["raw"]
    shadowed = [_placed(beaten, name, paths) for beaten in origin["shadowed"]]
    return {**origin, "value": absolute(value), "raw": raw, "shadowed": shadowed}


def refuse_replaced(canonical: Any, run_dir: Path) -> None:
    """Refuse settings that name a file of the run that is about to be replaced.

    Args:
        canonical: TrainingConfig, InferenceConfig or SolverConfig.
        run_dir: the folder of that run.

    Raises:
        ConfigError: one does.
    """
    section = section_of(type(canonical))
    held = [(section, canonical), *((one, getattr(canonical, name)) for name, one in section.nested.items())]
    members = {(run_dir / name).resolve() for name in members_in(run_dir)}
    homes = {member.parent for member in members}  # a start may be a folder
    failures: list[Failure] = []
    for one, values in held:
        for name in sorted(one.paths - {"output_dir"}):
            value, replaced = getattr(values, name), members | homes if name == "start" else members
            if value is not None and Path(str(value)).resolve() in replaced:
                rule = "expected a file that stays where it is"
                got = f"got {value}, of the run that is replaced. Name another output folder."
                failures.append(Failure(f"{one.table}.{name}", f"{one.table}.{name}: {rule}; {got}"))
    if failures:
        raise ConfigError(failures)


def recorded_domains(record: Mapping[str, Any]) -> TrainedDomains:
    """How a run read its scans, from its record; of an older one, where it read all alike."""
    if "domains" in record:
        return TrainedDomains.of("auto", record["domains"])
    told = record.get("measurement_domain")
    words = {str(text).partition(" ")[0] for text in told.values()} if isinstance(told, dict) else set()
    return TrainedDomains.of(words.pop() if len(words) == 1 else "auto", None)


def warn_of_older_model(run_dir: Path) -> None:
    """Say which reconstructions below a training, whose model was just written, are of a model that it replaced.

    They are kept: to replace a training is not to throw away what was made with it.
    """
    for record in sorted(run_dir.glob(f"*/{CONFIGURATION}")) if is_first_process() else ():
        if _model_of(record) in (os.path.realpath(run_dir), os.path.realpath(run_dir / ARCHIVE)):
            log.warning(
                "%s: made with the replaced model; reconstruct again (--overwrite), or move it away",
                printable(str(record.parent)),
            )


def _model_of(record: Path) -> str | None:
    """The model that a record names, seen from here."""
    named = recorded_settings(record.parent).get("model_path")
    return os.path.realpath(named) if isinstance(named, str) and "\0" not in named else None


class _LogFile(logging.FileHandler):
    """A log that a full disk keeps from growing, and nothing else: what the run needs is refused with an error."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def logged(folder: RunFolder, *, further: bool = False) -> Iterator[None]:
    """Write what the package logs meanwhile, from INFO up, to ``run.log`` too; of several processes the first does.

    The file is written from when the folder is this run's; what was logged before comes first in it.

    Args:
        folder: of the run.
        further: append to the log of an earlier part of the run.
    """
    if not is_first_process():
        yield
        return
    handler = MemoryHandler(1, logging.CRITICAL + 1)  # keeps all records until it has a target
    handler.setLevel(logging.INFO)
    packages = [logging.getLogger(name) for name in ("ptycho", "ptycho_torch")]
    levels = [package.level for package in packages]
    with contextlib.ExitStack() as opened:
        for package in packages:
            opened.enter_context(_heard(package))

        def begin() -> None:
            handler.setTarget(_log_file(folder, further, opened))

        folder.when_begun.append(begin)
        for package in packages:
            package.addHandler(handler)
            package.setLevel(logging.INFO)
        try:
            with contextlib.ExitStack() as stack:
                stack.push(functools.partial(_note_end, handler))
                yield
        finally:
            folder.when_begun.remove(begin)
            for package, level in zip(packages, levels, strict=True):
                package.removeHandler(handler)
                package.setLevel(level)
            handler.close()


@contextlib.contextmanager
def _heard(package: logging.Logger) -> Iterator[None]:
    """Go on showing warnings where nobody listens, as Python does for a log without any handler."""
    if package.hasHandlers() or logging.lastResort is None:
        yield
        return
    package.addHandler(logging.lastResort)
    try:
        yield
    finally:
        package.removeHandler(logging.lastResort)


def _note_end(
    handler: logging.Handler, kind: type[BaseException] | None, error: BaseException | None, _: object
) -> None:
    """Write into a log alone how a run ended; at the terminal its caller tells it."""
    level, words = logging.INFO, "the run has finished"
    if isinstance(error, KeyboardInterrupt) or isinstance(
        getattr(error, "__context__", None), KeyboardInterrupt
    ):
        level, words = logging.WARNING, "the run was interrupted"
    elif isinstance(error, Terminated):
        level, words = logging.WARNING, "the run was ended by SIGTERM"
    elif kind is not None:
        level, words = logging.ERROR, f"the run failed: {kind.__name__}: {error}"
    handler.handle(logging.LogRecord(ENDING, level, __file__, 0, words, None, None))


def _log_file(folder: RunFolder, further: bool, opened: contextlib.ExitStack) -> logging.Handler:
    file = _LogFile(folder.path / LOG, mode="a" if further else "w", encoding="utf-8", delay=True)
    file.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    opened.callback(file.close)
    return file

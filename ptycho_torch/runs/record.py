"""What a run leaves behind about itself: the resolved configuration, versions, the log."""

import contextlib
import functools
import importlib.metadata
import json
import logging
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.escaped import LineFormatter
from ptycho_torch.json_values import plain
from ptycho_torch.runtime import is_first_process
from ptycho_torch.stopping import Terminated

CONFIGURATION = "config.json"
LOG = "run.log"
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
    kept_origins: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``config.json``: every value in force with its origin, and what it was run with.

    Args:
        run_dir: the folder, which exists.
        canonical: TrainingConfig or InferenceConfig.
        execution: the execution configuration.
        sources: origins of the canonical fields.
        overrides_applied: audit trail of the factory.
        facts: further JSON values about the run (measurement domain, number of patterns ...).
        kept_origins: those that an earlier part of the run recorded, of values that are still in force.
    """
    content = {
        "versions": versions(),
        "seed": execution.seed,
        "configuration": plain(canonical),
        "execution": execution.to_dict(),
        "origins": {name: origin.to_dict() for name, origin in sources.items()}
        | {f"execution.{name}": origin.to_dict() for name, origin in execution.sources.items()}
        | plain(kept_origins or {}),
        "overrides_applied": plain(overrides_applied),
        **plain(facts),
    }
    return write_json(run_dir / CONFIGURATION, content)


def write_json(path: Path, content: Any) -> Path:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def logged(run_dir: Path, *, further: bool = False) -> Iterator[None]:
    """Write what the package logs meanwhile, from INFO up, to ``run.log`` too; of several processes the first does.

    Args:
        run_dir: the folder, which exists.
        further: append to the log of an earlier part of the run.
    """
    if not is_first_process():
        yield
        return
    handler = logging.FileHandler(run_dir / LOG, mode="a" if further else "w", encoding="utf-8")
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    packages = [logging.getLogger(name) for name in ("ptycho", "ptycho_torch")]
    levels = [package.level for package in packages]
    for package in packages:
        package.addHandler(handler)
        package.setLevel(logging.INFO)
    try:
        with contextlib.ExitStack() as stack:
            stack.push(functools.partial(_note_end, handler))
            yield
    finally:
        for package, level in zip(packages, levels, strict=True):
            package.removeHandler(handler)
            package.setLevel(level)
        handler.close()


def _note_end(
    handler: logging.Handler, kind: type[BaseException] | None, error: BaseException | None, _: object
) -> None:
    """Write into a log alone how a run ended; at the terminal its caller tells it."""
    level, words = logging.INFO, "the run has ended"
    if isinstance(error, KeyboardInterrupt) or isinstance(
        getattr(error, "__context__", None), KeyboardInterrupt
    ):
        level, words = logging.WARNING, "the run was interrupted"
    elif isinstance(error, Terminated):
        level, words = logging.WARNING, "the run was ended by SIGTERM"
    elif kind is not None:
        level, words = logging.ERROR, f"the run failed: {kind.__name__}: {error}"
    handler.handle(logging.LogRecord(__name__, level, __file__, 0, words, None, None))

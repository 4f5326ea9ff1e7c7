"""The historical command lines of `python -m ptycho_torch.train` and `.inference`, translated to today's."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.cli.commands import spell
from ptycho_torch.cli.console import plain_warnings
from ptycho_torch.cli.main import main
from ptycho_torch.cli.shared import with_device

POSITIONALS: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("--train-data-file",),
    "reconstruct": ("--model-path", "--test-data"),
}
"""Command -> the old options that are positional arguments today, in order."""

RENAMED: Final[Mapping[str, str]] = {"--max-epochs": "--nepochs", "--n-images": "--n-groups"} | {
    spell(old): spell(new) for old, new in PyTorchExecutionConfig.old_names.items()
}
"""Old option -> the flag that replaces it."""

_DEVICE, _ACCELERATOR = "--device", "--accelerator"


def run_door(command: str, argv: Sequence[str] | None = None) -> int:
    """Run a command as its historical command line says; a result of an earlier run is replaced.

    Args:
        command: the command of today.
        argv: the arguments; None: those of the process.

    Returns:
        The exit code.
    """
    with plain_warnings():
        return main(translate(command, sys.argv[1:] if argv is None else argv))


def translate(command: str, argv: Sequence[str]) -> list[str]:
    """Write a historical command line as one of today.

    Returns:
        Today's arguments, the command first. Deprecated options warn, naming the new one.

    Raises:
        SystemExit: an option that was required is missing.
    """
    if asked := {"-h", "--help", "--help-all"} & set(argv):
        return [command, *sorted(asked)]
    given: list[tuple[str, str | None]] = _pairs(argv)
    last = dict(given)
    missing = [option for option in POSITIONALS[command] if not last.get(option)]
    if missing:
        _refuse(command, missing[0])
    taken = {*POSITIONALS[command], _DEVICE}
    today = [command, *(str(last[option]) for option in POSITIONALS[command])]
    if _DEVICE in last:
        accelerator = with_device(last.get(_ACCELERATOR) or "auto", last[_DEVICE] or "")
        given = [pair for pair in given if pair[0] != _ACCELERATOR]
        today.append(f"{_ACCELERATOR}={accelerator}")
    for option, value in given:
        if option not in taken:
            today += _today(option, value)
    return [*today, "--overwrite"]


def _pairs(argv: Sequence[str]) -> list[tuple[str, str | None]]:
    """Options with their values; a value that belongs to no option is an option of its own without a value."""
    pairs: list[tuple[str, str | None]] = []
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            pairs.append((name.replace("_", "-"), value if equals else None))
        elif pairs and pairs[-1][1] is None and pairs[-1][0].startswith("--"):
            pairs[-1] = pairs[-1][0], word
        else:
            pairs.append((word, None))
    return pairs


def _today(option: str, value: str | None) -> list[str]:
    """One option in today's words."""
    if option == "--disable-mlflow":
        _deprecate(option, "--logger-backend none")
        return [option, "--no-enable-progress-bar"]
    if option == "--deterministic" and value is None:
        return [f"{option}=true"]
    if option in RENAMED:
        _deprecate(option, RENAMED[option])
        option = RENAMED[option]
    return [option] if value is None else [f"{option}={value}"]


def _deprecate(option: str, new: str) -> None:
    old = f"--{option[2:].replace('-', '_')}"
    warnings.warn(f"{old} is deprecated; use {new}.", DeprecationWarning, stacklevel=2)


def _refuse(command: str, option: str) -> NoReturn:
    old = f"--{option[2:].replace('-', '_')}"
    print(f"ptycho {command}: {old}: expected a path; got none. Give it.", file=sys.stderr)
    raise SystemExit(2)

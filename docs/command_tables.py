"""Rows of the tables of commands, their actions and their flags, from the parsers themselves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptycho_torch.cli.commands import ACTIONS, COMMANDS
from ptycho_torch.cli.flags import Flag
from ptycho_torch.cli.parser import FlagParser

Row = tuple[str, ...]


class _Recorded(FlagParser):
    """A parser that remembers what a command adds to it."""

    def __init__(self) -> None:
        self.flags: list[Flag] = []
        self.stated: Mapping[str, object] = {}
        self.own: list[tuple[str, str]] = []
        super().__init__(add_help=False)

    def add_flags(self, flags: Sequence[Flag], stated: Mapping[str, object] | None = None) -> None:
        """Remember flags of fields."""
        self.flags += flags
        self.stated = stated or {}

    def add_argument(self, *names: str, **options: Any) -> Any:
        """Remember an argument or option of the command itself."""
        action = super().add_argument(*names, **options)
        value = action.metavar if action.nargs != 0 else None
        shown = " ".join(filter(None, (", ".join(action.option_strings), value)))
        self.own.append((str(shown), action.help or ""))
        return action


def recorded(name: str) -> _Recorded:
    """What a command adds to its parser."""
    parser = _Recorded()
    COMMANDS[name].load().add_arguments(parser)
    return parser


def flags(command: str) -> list[Row]:
    """Group, spelling and words of the arguments and flags of a command."""
    parser = recorded(command)
    rows = [("", f"`{shown}`", words) for shown, words in parser.own]
    for flag in parser.flags:
        shown = flag.spelling if flag.is_switch else f"{flag.spelling} {flag.metavar}"
        rows.append((flag.group, f"`{shown}`", flag.describe(parser.stated).replace("%%", "%")))
    return rows


def commands() -> Iterator[Row]:
    """Usage and words of every command."""
    for name, command in COMMANDS.items():
        yield f"`ptycho {name} {command.usage}`", f"{command.summary[0].upper()}{command.summary[1:]}."


def config_actions() -> Iterator[Row]:
    """The same of the actions of `ptycho config`."""
    for name, action in ACTIONS.items():
        usage = f"ptycho config {name} {action.usage}".rstrip()
        yield f"`{usage}`", f"{action.summary[0].upper()}{action.summary[1:]}."

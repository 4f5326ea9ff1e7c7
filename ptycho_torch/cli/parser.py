"""The parser of the command line: common settings first in its help, and errors that are one message."""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

from ptycho.config.errors import Failure, fold, given_twice, names_meant, near, printable, show, warn_renamed
from ptycho_torch.cli.commands import COMMON, Command, spell

if TYPE_CHECKING:
    from ptycho_torch.cli.flags import Flag


class FlagParser(argparse.ArgumentParser):
    """A parser whose errors are one line; it takes `--num_workers` for `--num-workers`.

    Attributes:
        hands_on_unknown: Whether unknown and repeated flags are handed on, as the failures `unknown` of the namespace,
            for the command to report them together with what is wrong with the others.
        cure_of_more: What to do instead of naming more paths than a command takes.
    """

    hands_on_unknown = False
    cure_of_more = ""

    def __init__(self, **options: Any) -> None:
        options = {"allow_abbrev": False, "argument_default": argparse.SUPPRESS} | options
        super().__init__(**options)
        for action in self._actions:  # the only one yet, if any
            action.help = "Show this message and exit."
        self._further: list[argparse._ArgumentGroup] = []
        self._undescribed: list[tuple[argparse.Action, Flag]] = []
        self._stated: Callable[[], Mapping[str, object]] = dict

    def add_commands(
        self,
        commands: Iterable[Command],
        dest: str,
        add_arguments: "Callable[[Command, FlagParser], None]" = Command.add_arguments,
    ) -> None:
        """Add inner commands; the parser of one is made when it is first asked for.

        Args:
            commands: the commands.
            dest: what the one that is typed is called in the namespace.
            add_arguments: adds the arguments of a command to its parser.
        """
        kind = "action" if dest == "action" else "command"
        chooser = self.add_subparsers(
            dest=dest, metavar=kind.upper(), title=f"{kind}s", prog=self.prog, parser_class=_Later
        )
        for command in commands:
            chooser.add_parser(
                command.name,
                help=command.summary,
                description=f"{command.summary[0].upper()}{command.summary[1:]}.",
                usage=f"{self.prog} {command.name} {command.usage}".rstrip(),
                fill=partial(add_arguments, command),
            )

    @property
    def made(self) -> Self:
        """Itself; see `_Later`."""
        return self

    def walk(self, path: tuple[str, ...] = ()) -> "Iterator[tuple[tuple[str, ...], FlagParser]]":
        """Every parser with the words that lead to it, the outermost first."""
        yield path, self
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in [*action.choices.items()]:
                    action.choices[name] = inner.made  # for what looks at the class
                    yield from inner.made.walk((*path, name))

    def add_flags(self, flags: "Sequence[Flag]", stated: Callable[[], Mapping[str, object]] = dict) -> None:
        """Add flags under the headings of their groups; the common ones of a command come first.

        The namespace has the names of their fields as `fields`, and those of the arguments before them as `places`.

        Args:
            flags: the flags; those of one group stand together.
            stated: finds, where help is asked for, the defaults that the command line states in place of the fields'.
        """
        self._stated = stated
        places = [action.dest for action in self._get_positional_actions()]
        self.set_defaults(fields={flag.name for flag in flags}, places=places)
        common = COMMON.get(self.prog.rpartition(" ")[2], ())
        first = sorted((one for one in flags if one.name in common), key=lambda one: common.index(one.name))
        if first:
            self.add_argument(
                "--help-all", action=_HelpAll, nargs=0, help="Show this message with all settings and exit."
            )
            self._add_group("common settings", first)
            self._action_groups.insert(1, self._action_groups.pop())
        further = [flag for flag in flags if flag.name not in common]
        for group, members in groupby(further, key=lambda flag: flag.group):
            section = self._add_group(group, members)
            if first:
                self._further.append(section)
        if first:
            self.epilog = f"{len(further)} further settings: {self.prog} --help-all"

    def _add_group(self, group: str, flags: "Iterable[Flag]") -> argparse._ArgumentGroup:
        section = self.add_argument_group(group)
        for flag in flags:
            negative = spell(f"no_{flag.name}")
            if flag.is_switch:
                added = section.add_argument(flag.spelling, negative, dest=flag.name, action=_Switch)
            else:
                added = section.add_argument(flag.spelling, dest=flag.name, metavar=flag.metavar)
            self._undescribed.append((added, flag))
            vars(added)["words"] = flag.words
            if not flag.is_switch and bool in flag.accepts.kinds:
                section.add_argument(
                    negative,
                    dest=flag.name,
                    action="store_const",
                    const="false",
                    help=f"The same as {flag.spelling} false.",
                )
        return section

    def describe(self) -> None:
        """Write the help texts of the flags, which a command that runs does without."""
        stated = self._stated() if self._undescribed else {}
        for action, flag in self._undescribed:
            action.help = flag.describe(stated)
        self._undescribed = []

    def format_help(self) -> str:
        """The help, with the common settings where a command has many."""
        self.describe()
        groups = self._action_groups
        self._action_groups = [group for group in groups if group not in self._further]
        try:
            return super().format_help()
        finally:
            self._action_groups = groups

    def show_all(self) -> None:
        """Let the help show all settings from now on."""
        self._further, self.epilog = [], None

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print; unlike argparse, tell the caller where the output cannot be written."""
        if file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse after writing every flag with hyphens; refuse what is no flag."""
        if not args and isinstance(self._subparsers, argparse._ArgumentGroup):
            self.print_help()
            self.exit()
        written = [self._current(_hyphenated(word)) for word in args]
        self.refuse_flags_before_a_command(written)
        repeated = self._given_twice(list(args), written)
        wrong: dict[str, str] = {}
        words = [self._switched(word, wrong) for word in self._places_first(written)]
        parsed, unknown = super().parse_known_args(words, namespace)
        for name, value in wrong.items():
            setattr(parsed, name, value)
        strange = [word for word in unknown if word.startswith("-")]
        failures = [*repeated, *(Failure(word, self._no_such_flag(word)) for word in strange)]
        if failures and self.hands_on_unknown:
            parsed.unknown = tuple(failures)
            return parsed, []
        if failures:
            self.error("\n".join(failure.message for failure in failures))
        if unknown:
            self._refuse_values_of_switches(written)
            places = [str(one.metavar) for one in self._get_positional_actions() if one.metavar]
            rule = f"expected only {' and '.join(places)}" if places else "expected flags alone"
            self.error(f"{unknown[0]}: {rule}; got a further argument. {self.cure_of_more}".rstrip())
        return parsed, []

    def _places_first(self, words: Sequence[str]) -> Sequence[str]:
        """Put places before flags, which end them in argparse until Python 3.12; join negative values to flags."""
        if isinstance(self._subparsers, argparse._ArgumentGroup):  # what follows the command is its parser's
            return words
        end = words.index("--") if "--" in words else len(words)
        places: list[str] = []
        flags: list[str] = []
        takes_next = False
        for word in words[:end]:
            if takes_next and re.match(r"-\.?\d", word):  # which argparse takes for a flag, as it does -1.5um
                flags[-1] += f"={word}"
            else:
                (flags if takes_next or word.startswith("-") else places).append(word)
            action = self._option_string_actions.get(word)
            takes_next = action is not None and action.nargs != 0
        return [*flags, "--", *places, *words[end + 1 :]] if "--" in words else [*places, *flags]

    def _current(self, word: str) -> str:
        """Write a flag of an old or foreign name (`--lr`) by the current one, with a DeprecationWarning."""
        flag, equals, value = word.partition("=")
        known = self._option_string_actions
        if not flag.startswith("--") or flag in known:
            return word
        from ptycho_torch.cli.flags import (
            renamed,  # loads the settings, which the help of `ptycho` does without
        )

        meant = renamed().get(flag)
        if meant is None or meant not in known:
            return word
        warn_renamed(flag, meant)
        return f"{meant}{equals}{value}"

    def _given_twice(self, typed: Sequence[str], written: Sequence[str]) -> Iterator[Failure]:
        """Find the flags, as typed and by their current names, that are repeated; only one that appends may be."""
        if isinstance(self._subparsers, argparse._ArgumentGroup):  # what follows the command is its parser's
            return
        places: dict[str, list[int]] = {}
        end = written.index("--") if "--" in written else len(written)
        for place, word in enumerate(written[:end]):
            action = self._option_string_actions.get(word.partition("=")[0])
            if action is not None and not isinstance(action, argparse._AppendAction):
                places.setdefault(action.dest, []).append(place)
        for first, second in itertools.chain.from_iterable(map(itertools.pairwise, places.values())):
            name, described = written[first].partition("=")[0], partial(self._as_typed, typed, written)
            yield given_twice(name, described(first), described(second))

    def _as_typed(self, typed: Sequence[str], written: Sequence[str], place: int) -> str:
        """A flag of the command line with its value."""
        action, word = self._option_string_actions[written[place].partition("=")[0]], typed[place]
        takes_next = action.nargs != 0 and "=" not in word and place + 1 < len(typed)
        return f"{word} {typed[place + 1]}" if takes_next else word

    def refuse_flags_before_a_command(self, words: Sequence[str]) -> None:
        """Refuse a flag where a command has to be named first: what follows would be taken for the command."""
        chooser = next((each for each in self._actions if isinstance(each, argparse._SubParsersAction)), None)
        first = words[0] if words else ""
        if (
            chooser is None
            or not first.startswith("--")
            or first.partition("=")[0] in self._option_string_actions
        ):
            return
        choices = ", ".join(chooser.choices)
        what = str(chooser.metavar).lower()
        article = "an" if what[0] in "aeiou" else "a"
        self.error(f"{first.partition('=')[0]}: expected {article} {what} ({choices}) first; got a flag.")

    def _switched(self, word: str, wrong: dict[str, str]) -> str:
        """Write `--pin-memory=false` as `--no-pin-memory`; `wrong` keeps, by field, what is neither true nor false."""
        flag, equals, value = word.partition("=")
        action = self._option_string_actions.get(flag) if equals else None
        if action is None or action.nargs != 0:
            return word
        if not isinstance(action, _Switch) or flag != action.option_strings[0]:
            self.error(f"{flag}: expected no value; got {show(value)}. Leave it out.")
        from ptycho.config.fields import BOOL_WORDS

        meant = BOOL_WORDS.get(value.strip().lower())
        if meant is None:
            wrong[action.dest] = value
        return action.option_strings[meant is False]

    def _refuse_values_of_switches(self, words: Sequence[str]) -> None:
        """Refuse `--pin-memory true`, whose value would be taken for a path."""
        from ptycho.config.fields import BOOL_WORDS

        for flag, value in itertools.pairwise(words):
            action = self._option_string_actions.get(flag)
            if action is not None and action.nargs == 0 and value.lower() in BOOL_WORDS:
                way_out = f"Write {flag}={value}." if isinstance(action, _Switch) else "Leave it out."
                self.error(f"{flag}: expected no word after it; got {value}. {way_out}")

    def _get_values(self, action: argparse.Action, arg_strings: Any) -> Any:
        """Take the -- of `--recipe=--` for the value that it is; argparse drops it (until Python 3.12)."""
        is_value = action.option_strings and arg_strings == ["--"]
        return arg_strings[0] if is_value else super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a word that is none of an argument's choices."""
        if action.choices is not None and value not in action.choices:
            words = tuple(str(word) for word in action.choices)
            close = near(str(value), words)
            hint = f"Did you mean {close}?" if close else f"Choose one of {', '.join(words)}."
            self.error(f"{value}: no such {str(action.metavar).lower()}. {hint}")

    def _no_such_flag(self, word: str) -> str:
        from ptycho.config.section import tables_with  # loads the settings, which the help does without
        from ptycho.config.sources import BY_PLACE

        name = word.partition("=")[0]
        field = fold(name.removeprefix("--"))
        meant = {field, fold(BY_PLACE.get(field, field))}
        places = self._get_positional_actions()
        if named := [one.metavar for one in places if meant & {one.dest, fold(str(one.metavar))}]:
            return f"{name}: no such flag. Give the path as {named[0]}, without a flag."
        known = tuple(spelling for spelling in self._option_string_actions if spelling.startswith("--"))
        if name in known:
            return f"{name}: expected a flag before --; got it after. Move it, or drop the --."
        names = names_meant(field)
        if spell(names[0]) not in known and (tables := tables_with(names[0])):
            what = "It" if names == (field,) else names[0]
            return f"{name}: no such flag here. {what} is a setting of [{'] and ['.join(tables)}]."
        close = (near(spell(one), known, 0.7) for one in names)
        meant = " or ".join(filter(None, close))
        hint = f" Did you mean {meant}?" if meant else f" See {self.prog} --help."
        return f"{name}: no such flag.{hint}"

    def error(self, message: str) -> Any:
        """Say what is wrong in one message, without the usage, and exit with code 2."""
        if found := re.fullmatch(r"argument (--[\w-]+)(?:/--[\w-]+)*: expected one argument", message):
            message = f"{found[1]}: expected a value; got none. See {self.prog} --help."
        elif found := re.fullmatch(r"the following arguments are required: (.*)", message):
            missing = found[1].replace(", ", " and ")
            message = f"expected {missing}; an argument is missing. See {self.prog} --help."
        elif found := re.fullmatch(r"argument (--[\w-]+): not allowed with argument (--[\w-]+)", message):
            message = f"{found[1]}: expected without {found[2]}; got both. Drop one."
        lines = "\n".join(map(printable, message.split("\n")))
        self.exit(2, f"{self.prog}: {lines}\n")


class _Later:
    """The parser of a command, made when it is first asked for anything."""

    def __init__(self, *, fill: Callable[[FlagParser], None], **options: Any) -> None:
        self._fill, self._options = fill, options

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)

    @cached_property
    def made(self) -> FlagParser:
        """The parser, with all arguments."""
        parser = FlagParser(**self._options)
        self._fill(parser)
        return parser


class _HelpAll(argparse.Action):
    """`--help-all` shows every setting."""

    def __call__(self, parser: Any, *rest: object) -> None:
        parser.show_all()
        parser.print_help()
        parser.exit()


class _Switch(argparse.Action):
    """`--pin-memory` says true and `--no-pin-memory` says false."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        positive = option_string == self.option_strings[0]
        setattr(namespace, self.dest, "true" if positive else "false")


def _hyphenated(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"

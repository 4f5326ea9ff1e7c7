"""Flags generated from the fields they set: no flag of a field is written by hand.

A flag hands its text on as it was typed; the settings layer reads and refuses it. A flag that was not passed is not
in the parsed namespace: it is no value, and shadows nothing.
"""

import argparse
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ptycho.config.ambient import prefix_of
from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, near, printable, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.fields import BOOL_WORDS, Scalar, annotation_of, group_of, scalar
from ptycho.config.render import text
from ptycho.config.sources import warn_renamed
from ptycho.config.validated import help_texts, pydantic_fields, section_of, vocabulary

RUN_GROUPS = ("hardware", "data loading", "optimization", "checkpoints", "logging", "inference", "other")
"""Groups of knobs that a training reads."""
RECONSTRUCTION_GROUPS = ("hardware", "data loading", "logging", "inference")
"""Groups of knobs that a reconstruction reads."""


def spell(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


RENAMED = {
    spell(old): spell(new)
    for renamed in (
        PyTorchExecutionConfig.old_names,
        vocabulary(TrainingConfig).renamed,
        vocabulary(InferenceConfig).renamed,
    )
    for old, new in renamed.items()
}
"""Flag of an old or foreign name -> flag."""


@dataclass(frozen=True)
class Flag:
    """One flag and the field it sets."""

    name: str
    """The field."""
    accepts: Scalar
    """What the field accepts."""
    help: str
    """What the field says, in one sentence or two."""
    default: object
    """The field's default."""
    group: str
    """The heading it is listed under."""
    variable: str | None = None
    """The environment variable that sets the field as well."""

    @property
    def spelling(self) -> str:
        """The flag as it is typed: `--num-workers`."""
        return spell(self.name)

    @property
    def is_switch(self) -> bool:
        """Whether the field is true or false and nothing else."""
        return not self.accepts.words and self.accepts.kinds == {bool}

    @property
    def metavar(self) -> str:
        """What stands for the value in the help text."""
        words = self.accepts.choices
        if words:
            numbers = ("true", "false") if bool in self.accepts.kinds else ()
            integers = ("N",) if int in self.accepts.kinds else ()
            return "{" + ",".join((*integers, *numbers, *words)) + "}"
        if float in self.accepts.kinds:
            return "X"
        return "N" if int in self.accepts.kinds else "TEXT" if str in self.accepts.kinds else "PATH"

    def describe(self, stated: Mapping[str, object]) -> str:
        """The help text with the default and the variable.

        Args:
            stated: defaults that the command line states in place of the fields'.
        """
        default = stated.get(self.name, self.default)
        shown = [f"default: {f'{default:g}' if isinstance(default, float) else text(default)}"]
        if self.variable:
            shown.append(f"env: {self.variable}")
        return f"{self.help} [{'; '.join(shown)}]".replace("%", "%%")


def execution_flags(groups: Collection[str] = RUN_GROUPS) -> list[Flag]:
    """The flags of the execution configuration's knobs in these groups, the additions last in each."""
    cls = PyTorchExecutionConfig
    prefix = prefix_of(cls)
    flags = [
        Flag(
            name,
            scalar(annotation_of(info)),
            info.description or "",
            info.get_default(call_default_factory=True),
            group_of(info),
            f"{prefix}{name.upper()}",
        )
        for name, info in sorted(
            cls.model_fields.items(), key=lambda item: item[0] not in cls.__annotations__
        )
        if group_of(info) in groups
    ]
    return sorted(flags, key=lambda flag: tuple(groups).index(flag.group))


def canonical_flags(cls: type, *, without: Collection[str] = ()) -> list[Flag]:
    """The flags of a canonical configuration's fields, but those that a positional argument sets."""
    fields, texts = pydantic_fields(cls), help_texts(cls)
    return [
        Flag(name, accepts, texts[name], fields[name].get_default(call_default_factory=True), section_of(cls))
        for name, accepts in vocabulary(cls).scalars.items()
        if name not in without
    ]


def parameter_flags(function: Callable[..., Any], group: str) -> list[Flag]:
    """The flags of a function's parameters; their help is the function's docstring."""
    texts = _argument_texts(inspect.getdoc(function) or "")
    return [
        Flag(name, scalar(parameter.annotation), texts[name], parameter.default, group)
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _argument_texts(docstring: str) -> dict[str, str]:
    """The entries of a Google-style `Args:` section, on one line each."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", f"{docstring}\n", re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def read_parameters(flags: Iterable[Flag], passed: Mapping[str, str]) -> dict[str, Any]:
    """Read what was passed for a function's parameters.

    Args:
        flags: the flags of the function.
        passed: flag name -> text.

    Returns:
        Parameter -> value.

    Raises:
        ConfigError: everything that does not read as its parameter.
    """
    values: dict[str, Any] = {}
    failures = []
    for flag in flags:
        if flag.name in passed:
            written, accepts = passed[flag.name], flag.accepts
            value = values[flag.name] = accepts.read(written)
            is_word = str in accepts.kinds or value in accepts.words.values()
            if isinstance(value, str) and not is_word:
                message = f"expected {accepts.rule}; got {show(written)} from flag {flag.spelling}."
                failures.append(Failure(flag.name, f"{flag.name}: {message}"))
    if failures:
        raise ConfigError(failures)
    return values


class FlagParser(argparse.ArgumentParser):
    """A parser whose errors are one line; it takes `--num_workers` for `--num-workers`.

    Attributes:
        hands_on_unknown: Whether unknown flags are handed on, as the failures `unknown` of the namespace, for the
            command to report them together with what is wrong with the known ones.
    """

    hands_on_unknown = False

    def __init__(self, **options: Any) -> None:
        options = {"allow_abbrev": False, "argument_default": argparse.SUPPRESS} | options
        super().__init__(**options)

    def add_flags(self, flags: Sequence[Flag], stated: Mapping[str, object] | None = None) -> None:
        """Add flags under the headings of their groups.

        Args:
            flags: the flags; those of one group stand together.
            stated: defaults that the command line states in place of the fields'.
        """
        for group, members in groupby(flags, key=lambda flag: flag.group):
            section = self.add_argument_group(group)
            for flag in members:
                described = flag.describe(stated or {})
                if flag.is_switch:
                    negative = spell(f"no_{flag.name}")
                    section.add_argument(
                        flag.spelling, negative, dest=flag.name, action=_Switch, help=described
                    )
                else:
                    section.add_argument(flag.spelling, dest=flag.name, metavar=flag.metavar, help=described)
                    if bool in flag.accepts.kinds:
                        section.add_argument(
                            spell(f"no_{flag.name}"),
                            dest=flag.name,
                            action="store_const",
                            const="false",
                            help=f"The same as {flag.spelling} false.",
                        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse after writing every flag with hyphens; refuse what is no flag."""
        written = [self._current(_hyphenated(word)) for word in args]
        self.refuse_flags_before_a_command(written)
        wrong: dict[str, str] = {}
        parsed, unknown = super().parse_known_args(
            [self._switched(word, wrong) for word in written], namespace
        )
        for name, value in wrong.items():
            setattr(parsed, name, value)
        strange = [word for word in unknown if word.startswith("-")]
        if strange and self.hands_on_unknown:
            parsed.unknown = tuple(Failure(word, self._no_such_flag(word)) for word in strange)
            return parsed, []
        if strange:
            self.error("\n".join(self._no_such_flag(word) for word in strange))
        if unknown:
            self.error(f"{unknown[0]}: expected nothing more; got another argument.")
        return parsed, []

    def _current(self, word: str) -> str:
        """Write a flag of an old or foreign name (`--lr`) by the current one, with a DeprecationWarning."""
        flag, equals, value = word.partition("=")
        meant, known = RENAMED.get(flag), self._option_string_actions
        if meant is None or flag in known or meant not in known:
            return word
        warn_renamed(flag, meant)
        return f"{meant}{equals}{value}"

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
        """Write `--pin-memory=false` as `--no-pin-memory`.

        Args:
            word: a word of the command line.
            wrong: what is neither true nor false is kept here, by field, for the settings layer to refuse.
        """
        flag, equals, value = word.partition("=")
        action = self._option_string_actions.get(flag) if equals else None
        if action is None or action.nargs != 0:
            return word
        if not isinstance(action, _Switch) or flag != action.option_strings[0]:
            self.error(f"{flag}: expected no value; got {show(value)}. Leave it out.")
        meant = BOOL_WORDS.get(value.strip().lower())
        if meant is None:
            wrong[action.dest] = value
        return action.option_strings[meant is False]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a word that is none of an argument's choices."""
        if action.choices is not None and value not in action.choices:
            words = tuple(str(word) for word in action.choices)
            close = near(str(value), words)
            hint = f"Did you mean {close}?" if close else f"There are {', '.join(words)}."
            self.error(f"{value}: no such {str(action.metavar).lower()}. {hint}")

    def _no_such_flag(self, word: str) -> str:
        name = word.partition("=")[0]
        known = tuple(spelling for spelling in self._option_string_actions if spelling.startswith("--"))
        close = near(name, known, 0.7)
        hint = f" Did you mean {close}?" if close else f" See {self.prog} --help."
        return f"{name}: no such flag.{hint}"

    def error(self, message: str) -> Any:
        """Say what is wrong in one message, without the usage, and exit with code 2."""
        if found := re.fullmatch(r"argument (--[\w-]+)(?:/--[\w-]+)*: expected one argument", message):
            message = f"{found[1]}: expected a value; got none. See {self.prog} --help."
        elif found := re.fullmatch(r"the following arguments are required: (.*)", message):
            message = f"expected {found[1].replace(', ', ' and ')}; got too few. See {self.prog} --help."
        lines = "\n".join(map(printable, message.split("\n")))
        self.exit(2, f"{self.prog}: {lines}\n")


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

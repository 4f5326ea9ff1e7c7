"""Flags generated from the fields they set: no flag of a field is written by hand.

A flag hands its text on as it was typed; the settings layer reads and refuses it. A flag that was not passed is not
in the parsed namespace: it is no value, and shadows nothing.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from typing import NamedTuple

from ptycho.config.fields import Scalar, text
from ptycho.config.section import TABLES, Section, section_of, section_of_table
from ptycho_torch.cli.commands import spell

_LONGEST_METAVAR = 44
"""Characters; a longer list of words is given in the help text."""


@cache
def renamed() -> Mapping[str, str]:
    """Flag of an old or foreign name -> flag."""
    sections = [section_of_table(table) for table in TABLES]
    return {spell(old): spell(new) for section in sections for old, new in section.renamed.items()}


class Flag(NamedTuple):
    """One flag and the field it sets."""

    name: str
    """The field."""
    accepts: Scalar
    """What the field accepts."""
    help: Callable[[], str]
    """Finds what the field says, in one sentence or two; it is looked for where somebody asks."""
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
    def words(self) -> tuple[str, ...]:
        """The words that it takes, beside a number; none where it takes no words."""
        switches = ("true", "false") if bool in self.accepts.kinds else ()
        return (*switches, *self.accepts.choices) if self.accepts.choices else ()

    @property
    def metavar(self) -> str:
        """What stands for the value in the help text."""
        if words := self.words:
            integers = ("N",) if int in self.accepts.kinds else ()
            listed = "{" + ",".join((*integers, *words)) + "}"
            return listed if len(listed) <= _LONGEST_METAVAR else "WORD"
        if float in self.accepts.kinds:
            return "X"
        return "N" if int in self.accepts.kinds else "TEXT" if str in self.accepts.kinds else "PATH"

    def describe(self, stated: Mapping[str, object]) -> str:
        """The help text with the variable and the default, or what the command line states in its place."""
        default = stated.get(self.name, self.default)
        shown = [f"one of: {', '.join(self.words)}"] if self.metavar == "WORD" else []
        shown += [f"default: {f'{default:g}' if isinstance(default, float) else text(default)}"]
        if self.variable:
            shown.append(f"env: {self.variable}")
        return f"{self.help()} [{'; '.join(shown)}]".replace("%", "%%")


def flags_of(cls: type, groups: Collection[str] = (), *, without: Collection[str] = ()) -> list[Flag]:
    """The flags of a section, by groups; those that a subclass declares come first in each.

    Args:
        cls: its class.
        groups: the groups to have, in order; none: all, in the order of their fields.
        without: names to leave out, as of fields that a positional argument sets.
    """
    section = section_of(cls)
    names = sorted(section.fields, key=lambda name: name not in cls.__annotations__)
    group = {name: section.group(name) for name in names}
    order = list(groups or dict.fromkeys(group.values()))
    flags = [
        Flag(
            name,
            section.scalars[name],
            partial(_help, section, name),
            section.defaults.get(name),
            group[name],
            section.variable(name),
        )
        for name in names
        if name not in without and group[name] in order
    ]
    return sorted(flags, key=lambda flag: order.index(flag.group))


def _help(section: Section, name: str) -> str:
    return section.help[name]

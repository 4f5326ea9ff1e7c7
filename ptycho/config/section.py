"""What a section is, and the registry of all of them.

A section is one class of settings: `PyTorchExecutionConfig`, `TrainingConfig`. It registers itself when its class is
created; a module that needs to know of all of them asks here, and imports none.
"""

import ast
import inspect
import itertools
import os
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    WrapValidator,
)
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from ptycho.config.errors import NEAR_ENOUGH, ConfigError, Failure, names_meant, near, show
from ptycho.config.fields import Scalar, plain, scalar
from ptycho.config.paths import absolute, written

TABLES: Final[Mapping[str, str]] = {
    "model": "ptycho.config.model",
    "training": "ptycho.config.training",
    "inference": "ptycho.config.inference",
    "solver": "ptycho.config.solver",
    "data": "ptycho.config.data",
    "execution": "ptycho.config.execution",
}
"""Table of a run file -> the module that declares its section, and is loaded where all tables are asked for."""

OF_READING: Final = ("measurement_domain", "holdout")
"""Settings of how a scan is read that other sections have, and that a file may set in [data] as well."""


@dataclass(eq=False)
class Section:
    """One class of settings."""

    cls: type
    label: str = ""
    """What messages put before the name of a field, as in `training.batch_size`; empty: nothing. A file without tables
    is of the section without a label."""
    table: str = ""
    """Its table in a run file; empty: it has none."""
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Old or foreign name -> field; using one gives a DeprecationWarning."""
    also: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name that callers use -> field; it works in construction, and gives no warning."""
    prefix: str | None = None
    """What its environment variables start with, in upper case; None: the environment is not read."""
    conflicts: Callable[[Mapping[str, Any]], Iterable["Conflict"]] = lambda values: ()
    """Finds what does not go together among values that are valid by themselves."""
    recipe_omits: Collection[str] = ()
    """Tables that a recipe leaves alone in a run that reads this section."""
    adds_sources: bool = False
    """Whether the class has sources of its own, beside the environment."""

    @property
    def is_flat(self) -> bool:
        """Whether a file without tables is of this section."""
        return not (self.label and self.table)

    @property
    def all_fields(self) -> Mapping[str, FieldInfo]:
        """Name -> field."""
        return cast(Any, self.cls).__pydantic_fields__

    @cached_property
    def fields(self) -> Mapping[str, FieldInfo]:
        """Name -> field, but for the ones that hold a section of their own."""
        return {name: info for name, info in self.all_fields.items() if name not in self.nested}

    @cached_property
    def nested(self) -> "Mapping[str, Section]":
        """Field -> the section it holds."""
        annotations = {name: cast(object, info.annotation) for name, info in self.all_fields.items()}
        return {name: section_of(held) for name, held in annotations.items() if hasattr(held, "__section__")}

    @cached_property
    def scalars(self) -> Mapping[str, Scalar]:
        """Name -> what the field accepts."""
        return {name: scalar(annotation_of(info)) for name, info in self.fields.items()}

    @cached_property
    def paths(self) -> frozenset[str]:
        """The names of the fields that hold a path."""
        return frozenset(name for name, accepts in self.scalars.items() if Path in accepts.kinds)

    def in_file(self, name: str, value: Any) -> Any:
        """A plain value as any file holds it: a path from the root."""
        return written(absolute(value)) if name in self.paths and value is not None else value

    @cached_property
    def secrets(self) -> frozenset[str]:
        """The names of the fields that hold a secret, which no file or record is given."""
        return frozenset(
            name for name, accepts in self.scalars.items() if accepts.kinds & {SecretStr, SecretBytes}
        )

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """Name -> default, of the fields that have one."""
        return {
            name: info.get_default(call_default_factory=True)
            for name, info in self.fields.items()
            if not info.is_required()
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name that may be written, the old ones last."""
        return (*self.fields, *self.renamed)

    @cached_property
    def help(self) -> Mapping[str, str]:
        """Name -> the sentence that says what the field is: its description, or the text under it in the class."""
        texts = {name: text for base in reversed(self.cls.__mro__) for name, text in _texts_in(base).items()}
        return {name: info.description or texts.get(name, "") for name, info in self.all_fields.items()}

    @property
    def summary(self) -> str:
        """The sentence that says what the section is about."""
        return f"{self.cls.__doc__}".partition("\n")[0]

    @cached_property
    def check(self) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        """Validates any of the fields, each by itself; raises pydantic's ValidationError."""
        return partial(_each_alone(self.cls).validate_python, by_alias=True, by_name=True)

    def field(self, written: str) -> str | None:
        """The field that a written name means, current or old; None for an unknown name."""
        if written in self.scalars:
            return written
        return self.renamed.get(written) or self.also.get(written)

    def labelled(self, name: str) -> str:
        """A name as messages say it."""
        return f"{self.label}.{name}" if self.label else name

    def group(self, name: str) -> str:
        """The heading that a field is shown under; one that names none is under its section, or `other`."""
        extra = self.fields[name].json_schema_extra
        return f"{extra['group']}" if isinstance(extra, dict) and "group" in extra else self.label or "other"

    def suggest(self, written: str, *, in_file: bool = False) -> str | None:
        """The name that may be meant by one that is not known, as messages say it.

        Args:
            written: The name.
            in_file: Whether it stands in the table of this section, where names have no label.

        Returns:
            The nearest name; an old one, or one of another table, as `[training] nepochs`, only if it is very near.
        """
        here = {name: held.labelled(name) for held in self.nested.values() for name in held.fields}
        here = {} if in_file else here
        label = str if in_file else self.labelled
        here |= {name: label(name) for name in self.fields}
        here |= {name: f"[{held.table}]" if in_file else label(name) for name, held in self.nested.items()}
        farther = _homes_in_files() | {old: label(name) for old, name in self.renamed.items()}
        found: list[str] = []
        for name in names_meant(written):
            own, other = near(name, tuple(here)), near(name, tuple(farther), NEAR_ENOUGH)
            close = near(name, tuple(filter(None, (own, other))))
            found += [(farther | here)[close]] if close else []
        return " or ".join(found) or None

    @cached_property
    def _variable(self) -> re.Pattern[str]:
        return re.compile(rf"\0({re.escape(self.prefix or '')}[^\0]+)", re.IGNORECASE)

    def variables_in(self, names: str) -> list[str]:
        """The names that start with the prefix, in any case, in alphabetic order; of names with a NUL before each."""
        return sorted(self._variable.findall(names))

    @cached_property
    def names_in_lower_case(self) -> Mapping[str, str]:
        """Name in lower case, as it is read off a variable -> the name."""
        return {name.lower(): name for name in self.names}

    def variable(self, name: str) -> str | None:
        """The environment variable of a field."""
        return None if self.prefix is None else f"{self.prefix}{name.upper()}"


class Conflict(NamedTuple):
    """A value that another one contradicts, or that cannot be here; the origins come with the message."""

    name: str
    rule: str
    """What its value needs; or, where no other value is named, what was expected."""
    other: str = ""
    """The field that stands against it."""
    way_out: str = ""
    instead: tuple[Any, ...] = ()
    """The nearest value that keeps the rule, where there is one; a recipe gives way to it."""


_BY_TABLE: Final[dict[str, Section]] = {}


_JSONABLE: Final = {bool, int, float, str, tuple, type(None)}


def register(section: Section) -> None:
    """Make a section known; files and suggestions ask for the first class of a table.

    Raises:
        ConfigError: An old or other name stands for no setting, or is a setting itself.
    """
    wrong = [Failure.of(f"{section.cls.__name__}: {old}", words) for old, words in _wrong_names(section)]
    if wrong:
        raise ConfigError(wrong)
    section.cls.__section__ = section  # pyright: ignore[reportAttributeAccessIssue]
    _BY_TABLE.setdefault(section.table, section)


def _wrong_names(section: Section) -> Iterator[tuple[str, str]]:
    """The old and the other names of a section that cannot be, and why."""
    for old, name in {**section.renamed, **section.also}.items():
        if name not in section.all_fields:
            hint = f" Did you mean {close}?" if (close := near(name, tuple(section.all_fields))) else ""
            yield old, f"expected the name of a setting that it stands for; got {show(name)}.{hint}"
        elif old in section.all_fields:
            yield old, f"expected a name that is no setting, to stand for {name}; got a setting. Drop it."


def section_of(cls: Any) -> Section:
    """The section of a class of settings."""
    return cls.__section__


def section_of_table(table: str) -> Section:
    """The section that a table of a run file belongs to; its module is loaded if need be."""
    import_module(TABLES[table])
    return _BY_TABLE[table]


def tables_with(name: str) -> list[str]:
    """The tables of a run file that have a field of this name, current or old."""
    return [table for table in TABLES if name in section_of_table(table).names]


def _homes_in_files() -> dict[str, str]:
    """Name, current or old -> its table and current name; of several tables the first."""
    homes: dict[str, str] = {}
    for table in TABLES:
        section = section_of_table(table)
        for name in section.names:
            homes.setdefault(name, f"[{table}] {section.renamed.get(name, name)}")
    return homes


def recorded(value: Any) -> Any:
    """A value as a record of it holds it: paths are text, numbers plain Python."""
    return os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else plain(value)


def jsonable(value: Any) -> Any:
    """A value as origins and dictionaries tell it: what JSON has no word for is text; a secret is asterisks."""
    held: Any = recorded(value)
    return held if type(held) in _JSONABLE else to_jsonable_python(held, fallback=str)


def annotation_of(field: FieldInfo) -> Any:
    """Return a pydantic field's annotation with its constraints."""
    annotation: Any = field.annotation
    return Annotated[(annotation, *field.metadata)] if field.metadata else annotation


def _each_alone(cls: Any) -> Any:
    """Build a validator that takes any of a class's fields, each by itself.

    A field is checked by its annotation and by the class's own validators of it; not by one that asks for what the
    other fields say.
    """
    fields = {name: annotation_of(field) for name, field in cls.__pydantic_fields__.items()}
    for own in cls.__pydantic_decorators__.field_validators.values():
        marker, takes = _MARKERS[own.info.mode]
        check: Callable[..., Any] = getattr(cls, own.cls_var_name)
        if len(inspect.signature(check).parameters) == takes:
            for name in fields if "*" in own.info.fields else fields.keys() & set(own.info.fields):
                fields[name] = Annotated[fields[name], marker(check)]
    for name in fields.keys() & section_of(cls).secrets:
        fields[name] = Annotated[fields[name], BeforeValidator(_no_mask)]
    return TypeAdapter(TypedDict(f"{cls.__name__}Values", fields, total=False)).validator  # pyright: ignore


def is_mask(value: object) -> bool:
    """Whether a value is what stands for a secret where one is shown, which would be taken for the secret."""
    shown = value.get_secret_value() if isinstance(value, SecretStr | SecretBytes) else value
    return shown in ("**********", b"**********")


def _no_mask(value: Any) -> Any:
    if is_mask(value):
        raise ValueError("expected a secret, not the asterisks that replace it in output")
    return value


_MARKERS: Final[Mapping[str, tuple[Callable[[Any], Any], int]]] = {
    "after": (AfterValidator, 1),
    "before": (BeforeValidator, 1),
    "plain": (PlainValidator, 1),
    "wrap": (WrapValidator, 2),
}
"""Mode of a validator -> what says the same in an annotation, and how many arguments one that asks no field takes."""


def _texts_in(cls: type) -> dict[str, str]:
    """The text under every field in the body of a class, on one line each; nothing where there is no source."""
    try:
        source = inspect.getsource(cls) if "__annotations__" in vars(cls) else ""
    except (OSError, TypeError):  # typed at a prompt
        source = ""
    statements = ast.parse(textwrap.dedent(source)).body
    texts: dict[str, str] = {}
    for declared, text in itertools.pairwise(cast(ast.ClassDef, statements[0]).body if statements else []):
        match declared, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                texts[name] = " ".join(words.split())
            case _:
                pass
    return texts

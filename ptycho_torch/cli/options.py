"""What the commands share: the options that are no fields, and how a parsed command line becomes a request."""

import argparse
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile
from ptycho.config.origins import Layer
from ptycho.config.paths import PathError, expanded
from ptycho.config.recipes import NONE, STANDARD, read_files, read_recipe, recipe_names
from ptycho.config.record import OF_TERMINAL
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.sources import Environment
from ptycho_torch.cli.console import Refusal, is_first_process, is_watched
from ptycho_torch.cli.flags import spell
from ptycho_torch.cli.parser import FlagParser

AUTO = "auto"
"""In place of a folder to resume: go on where there is something to go on from."""


SHOWN: Final[Mapping[str, object]] = {
    "N": "from the data",
    "nphotons": "from the data, else 1e9",
    "enable_progress_bar": "true on a terminal",
}
"""Values that are found when a command runs, in the words of the help text."""


def shown_values(recipe: str, *classes: type, **others: object) -> dict[str, object]:
    """What help texts show in place of the defaults of the fields: the values of a recipe, and what a run finds."""
    (file,) = read_recipe(recipe)
    stated: dict[str, object] = {}
    for cls in classes:
        stated |= file.layer(section_of(cls)).values
    return {**SHOWN, **stated, **others}


def add_own_options(parser: FlagParser, recipe: str = STANDARD) -> None:
    """Add the options of a command that writes a run: `--config`, `--recipe`, `--quiet` and `--overwrite`."""
    add_config(parser)
    add_recipe(parser, recipe)
    add_quiet(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace the run in the output folder; the earlier run is kept until the new one has saved.",
    )


def add_config(parser: FlagParser) -> None:
    """Add `--config`, the one flag that may be repeated."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        help="TOML, YAML or JSON file with settings (ptycho config init writes one), or a run, whose recorded settings "
        "are used. May be repeated: later files win. The files in the variable PTYCHO_CONFIG are weaker.",
    )


def add_recipe(parser: FlagParser, default: str = STANDARD) -> None:
    """Add `--recipe`."""
    recipe = parser.add_argument(
        "--recipe",
        metavar="NAME",
        help=f"Values for settings that no flag, variable or file sets: {', '.join(recipe_names())}, or a file like "
        f"those of --config; none: the defaults of the settings. [default: {default}]",
    )
    vars(recipe)["words"] = (*recipe_names(), NONE)  # for completion


def add_json(parser: FlagParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")


def add_quiet(parser: FlagParser) -> None:
    """Add `--quiet`."""
    parser.add_argument(
        "--quiet", action="store_true", help="Show only warnings and the result; no progress bar."
    )


class CommandLine(NamedTuple):
    """What was passed."""

    places: dict[str, str]
    """Field -> path, of those given by their place."""
    flags: dict[str, str]
    """Field or knob -> text, of the flags that were passed."""
    read: Callable[[], Sequence[ConfigFile]]
    """Reads the files of settings, and the recipe; once, when they are first asked for."""
    options: argparse.Namespace
    """The parsed namespace, with the options of the command itself."""

    @classmethod
    def of(cls, options: argparse.Namespace, *, recipe: str = STANDARD) -> "CommandLine":
        """Read a parsed namespace; the recipe is that of the command, where `--recipe` was not passed.

        Raises:
            ConfigError: what stands for a folder in the path of a file is not there.
            Refusal: a run is to go on where it can, and also to be replaced.
        """
        places = {name: vars(options)[name] for name in options.places if name in options}
        files = [path_of_flag("--config", file) for file in vars(options).get("config", ())]
        read = partial(read_files, files, recipe_of(options, recipe), Environment(os.environ))
        line = cls(places, passed_flags(options), cache(read), options)
        if line.is_automatic and line.overwrites:
            rule = "expected without --resume auto, which keeps the run in the folder"
            raise Refusal(f"--overwrite: {rule}; got both. Drop one.")
        return line

    @property
    def unknown(self) -> Sequence[Failure]:
        """Flags that do not exist."""
        return vars(self.options).get("unknown", ())

    @property
    def overwrites(self) -> bool:
        """Whether an earlier run in the folder may go."""
        return "overwrite" in self.options

    @property
    def is_automatic(self) -> bool:
        """Whether a run goes on where it can, and starts otherwise."""
        return vars(self.options).get("resume") == AUTO

    @property
    def resumes(self) -> bool:
        """Whether a run that is named goes on."""
        return "resume" in self.options and not self.is_automatic

    def request(
        self,
        *classes: type,
        only: Collection[str] | None = None,
        unread: Mapping[str, str] = {},
        beside: Collection[type] = (),
    ) -> Request:
        """Ask for the settings of a command.

        Args:
            *classes: the classes of its sections.
            only: names of the flags that are settings; None: all.
            unread: settings that the run does nothing with, see `Request`.
            beside: the classes of sections that the command reads by another request.
        """
        request = Request(
            classes,
            flags={name: text for name, text in self.flags.items() if only is None or name in only},
            files=self.read(),
            unread=unread,
            beside=beside,
        )
        request.fail(self.unknown)
        for cls in classes:
            own = {name: place for name, place in self.places.items() if name in section_of(cls).fields}
            request.add(cls, Layer("argument", own))
        for cls, layer in self._on_terminal():
            request.add(cls, layer)
        return request

    def _on_terminal(self) -> Iterator[tuple[type, Layer]]:
        """What decides on a progress bar beside its flag: the terminal, and `--quiet`."""
        yield PyTorchExecutionConfig, Layer("cli-default", {OF_TERMINAL: is_watched()})
        if "quiet" in self.options and OF_TERMINAL not in self.flags:
            yield PyTorchExecutionConfig, Layer("override", {OF_TERMINAL: False}, {OF_TERMINAL: "--quiet"})

    def refuse(self, request: Request, failures: Sequence[Failure] = ()) -> None:
        """Refuse what is wrong with the line, and the settings with it, before data are looked for.

        Args:
            request: what was asked for; it has the flags that do not exist, whose values may have been taken for data.
            failures: what else is wrong.

        Raises:
            ConfigError: there is anything.
        """
        if failures or self.unknown:
            request.fail(failures)
            request.answer()

    def ready(
        self,
        request: Request,
        cls: type,
        places: Mapping[str, str],
        wrong: Sequence[Failure] = (),
        *,
        may_resume: bool = False,
    ) -> Path:
        """Refuse what would stop a run before data are looked for, and return its folder.

        Args:
            request: what was asked for.
            cls: the class that has the places, and the folder.
            places: field -> what the usage calls it.
            wrong: what else is wrong.
            may_resume: whether an earlier run of the same kind in the folder could go on.

        Raises:
            ConfigError: there is anything.
        """
        failures, place = [*missing_places(request, cls, places), *wrong], request.path("output_dir")
        run_dir = Path(place or "")
        if place and not self.is_automatic:
            failures += run_in_the_way(run_dir, self.options, may_resume=may_resume)
        self.refuse(request, failures)
        return run_dir

    def resuming(self, table: str, hint: str = ".", **moved: str | None) -> "Resumed":
        """What every run that goes on is asked with.

        Args:
            table: the table of the run's own settings: `training` or `solver`.
            hint: ends the refusal of an option that does not go with `--resume`.
            **moved: where the scan is now; None: where it was.

        Raises:
            ConfigError: a flag that does not exist, or what stands for a folder in the path of the run; or
                there is no such run to go on.
            Refusal: an option that does not go with `--resume`.
        """
        from ptycho.run_record import read_record

        if self.unknown:
            raise ConfigError(self.unknown)
        for name in ("config", "recipe", "overwrite", "output_dir"):
            if name in self.options:
                rule = "expected without --resume, which uses settings and folder of the run"
                raise Refusal(f"{spell(name)}: {rule}; got both. Drop one{hint}")
        run_dir = path_of_flag("--resume", self.options.resume)
        changes = {"flags": self.flags, "said": [*self._on_terminal()], **moved}
        return Resumed(Path(run_dir), read_record(Path(run_dir), table), changes)


class Resumed(NamedTuple):
    """A run that goes on."""

    run_dir: Path
    record: Mapping[str, Any]
    """Its config.json."""
    changes: dict[str, Any]
    """What is changed of its settings, and where its scan is now: arguments of what goes on with it."""


def passed_flags(options: argparse.Namespace) -> dict[str, str]:
    """Field -> text, of the flags that were passed and set a field."""
    return {name: text for name, text in vars(options).items() if name in options.fields}


def missing_places(request: Request, cls: type, places: Mapping[str, str]) -> list[Failure]:
    """The places that no level names; none where a file that may name them is not read, which is a failure itself."""
    table = section_of(cls).table
    missing = [
        Failure.of(
            word, f"expected a path; got none. Name it, or set {name} in [{table}] of a file for --config."
        )
        for name, word in places.items()
        if request.path(name) is None
    ]
    return request.unreadable or missing if missing else []


def path_of_flag(flag: str, written: str) -> str:
    """The path that a flag of a command itself gives, with `~` and `$NAME` replaced as in those of settings.

    Raises:
        ConfigError: it is blank, or what stands for a folder in it is not there.
    """
    if not written.strip():
        raise ConfigError.of(flag, f"expected a path or a name; got {show(written)}. Write one.")
    try:
        return expanded(written)
    except PathError as error:
        what, _, way_out = str(error).partition(". ")
        raise ConfigError.of(flag, f"{what}; got {show(written)}. {way_out}.") from None


def recipe_of(options: argparse.Namespace, default: str = STANDARD) -> str:
    """The recipe that `--recipe` names, or that of the command."""
    return path_of_flag("--recipe", vars(options).get("recipe", default))


def output_of(options: argparse.Namespace) -> Path | None:
    """The file that `--output` names; None where it was not passed."""
    return Path(path_of_flag("--output", options.output)) if "output" in options else None


def in_the_way(path: Path, options: argparse.Namespace) -> list[Failure]:
    """A file that is kept, unless somebody says that it may go."""
    if "overwrite" in options or not path.exists():
        return []
    words = "expected a new file; got an existing one. Name another place, or pass --overwrite."
    return [Failure.of(str(path), words)]


def run_in_the_way(run_dir: Path, options: argparse.Namespace, *, may_resume: bool = False) -> list[Failure]:
    """An earlier run that is kept, or one under way; the first process of a run asks."""
    if "overwrite" in options or not is_first_process():
        return []
    from ptycho.run_folder import run_failure

    failure = run_failure(run_dir, may_resume=may_resume)
    return [] if failure is None else [failure]

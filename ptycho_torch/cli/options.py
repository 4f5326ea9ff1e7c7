"""What the commands share: the options that are no fields, and how a parsed command line becomes a request."""

import argparse
import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile
from ptycho.config.request import Request
from ptycho.config.sources import Layer
from ptycho.config.validated import section_of, vocabulary
from ptycho_torch.cli.console import Refusal, is_watched
from ptycho_torch.cli.defaults import suited
from ptycho_torch.cli.flags import FlagParser

OWN = ("command", "config", "quiet", "overwrite", "resume", "action", "of", "json", "unknown")
"""Options of the commands themselves; every other one is a field's."""
POSITIONAL = {"train": ("train_data_file",), "reconstruct": ("model_path", "test_data_file")}
"""Command -> fields that are given by their place in it, without a flag."""


def add_own_options(parser: FlagParser, *, overwrite: str = "") -> None:
    """Add `--config`, `--quiet` and, where its help text is given, `--overwrite`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML, YAML or JSON file with the tables [model], [training], [inference], [execution].",
    )
    add_quiet(parser)
    if overwrite:
        parser.add_argument("--overwrite", action="store_true", help=overwrite)


def add_quiet(parser: FlagParser) -> None:
    """Add `--quiet`."""
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="Say only warnings and the result; no progress bar.",
    )


@dataclass(frozen=True)
class CommandLine:
    """What was passed, ready for the factories."""

    places: dict[str, str]
    """Field -> path, of those given by their place."""
    flags: dict[str, str]
    """Field or knob -> text, of the flags that were passed."""
    file: str | None
    """The file of `--config`."""
    quiet: bool
    unknown: tuple[Failure, ...] = ()
    """The flags that there are none of."""

    @classmethod
    def of(cls, options: argparse.Namespace) -> "CommandLine":
        """Read a parsed namespace."""
        passed = {name: text for name, text in vars(options).items() if name not in OWN and text is not None}
        command = vars(options).get("of", options.command)
        places = {name: passed.pop(name) for name in POSITIONAL.get(command, ()) if name in passed}
        unknown = vars(options).get("unknown", ())
        return cls(places, passed, vars(options).get("config"), "quiet" in options, unknown)

    def refuse_unknown(
        self, section: type, asked: Callable[["CommandLine"], Mapping[str, Any]] | None = None
    ) -> None:
        """Refuse flags that there are none of.

        Args:
            section: the canonical class beside ModelConfig.
            asked: gives the arguments of a `Request`; what is wrong with them is reported as well.

        Raises:
            ConfigError: there is one.
        """
        if self.unknown:
            request = Request([ModelConfig, section], **(asked(self) if asked else {}))
            request.fail(self.unknown)
            request.answer()

    def value(self, section: type, name: str) -> Any:
        """What the command, or else the file, says about a canonical field; None where neither does."""
        accepts = vocabulary(section)
        passed = self.places.get(name, self.flags.get(name))
        if passed is not None:
            return accepts.scalars[name].read(passed)
        if self.file is None:
            return None
        try:
            file = ConfigFile.read(self.file)
        except ConfigError:
            return None  # the run reports what is wrong
        return file.layer(accepts, section_of(section)).values.get(name) if file.has_tables else None

    def training_defaults(self, table: Mapping[str, object]) -> dict[str, object]:
        """One of the tables of `defaults` for a training, as it goes with what was passed."""
        asked = self.value(TrainingConfig, "nepochs"), self.value(ModelConfig, "gridsize")
        knobs = {name: text for name, text in self.flags.items() if name == "scheduler"}
        try:
            with warnings.catch_warnings(action="ignore"):
                scheduler = PyTorchExecutionConfig.resolve(flags=knobs, file=self.file).scheduler
        except ConfigError:
            scheduler = None  # the run reports what is wrong
        return suited(table, *asked, scheduler)

    def place(self, section: type, name: str) -> str | None:
        """A path that the command, or else the file, sets; None where neither does."""
        found = self.value(section, name)
        return found if isinstance(found, str) else None

    def required_places(
        self, section: type, positionals: Mapping[str, str], asked: Mapping[str, Any]
    ) -> list[str]:
        """Paths that must be there.

        Args:
            section: the canonical class that has them.
            positionals: field -> what the usage calls it.
            asked: the arguments of a `Request`; what is wrong with them is reported together with what is missing.

        Raises:
            ConfigError: neither the command line nor the file names one, or the file cannot be read.
        """
        found = {name: self.place(section, name) for name in positionals}
        places = [place for place in found.values() if place is not None]
        if len(places) == len(found):
            return places
        request = Request([ModelConfig, section], **asked)
        request.add(section, Layer("argument", self.places))
        table = section_of(section)
        missing = [
            Failure(word, f"{word}: expected a path; got none. Give it, or {name} in [{table}] of --config.")
            for name, word in positionals.items()
            if found[name] is None
        ]
        with contextlib.suppress(ConfigError):  # a file that cannot be read may name it
            if self.file is not None:
                ConfigFile.read(self.file)
            request.fail(missing)
        request.answer()
        raise AssertionError("a request with failures was answered")

    def request(
        self, cli_defaults: Mapping[str, object], only: Collection[str] | None = None
    ) -> dict[str, Any]:
        """The arguments of a factory that say what was passed.

        Args:
            cli_defaults: what the command line states without a flag.
            only: names of the flags to hand on; None: all.
        """
        silent = self.quiet and "enable_progress_bar" not in self.flags
        return {
            "flags": {name: text for name, text in self.flags.items() if only is None or name in only},
            "file": self.file,
            "cli_defaults": {"enable_progress_bar": is_watched(), **cli_defaults},
            "overrides": {"enable_progress_bar": False} if silent else {},
        }


def refuse_to_replace(path: Path, overwrite: bool) -> None:
    """Keep an earlier result.

    Raises:
        Refusal: the file is there, and nobody said that it may go.
    """
    if path.exists() and not overwrite:
        raise Refusal(
            f"{path}: expected nothing there yet; got a file. Name another place, or pass --overwrite."
        )

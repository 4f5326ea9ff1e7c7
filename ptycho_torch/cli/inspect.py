"""`ptycho inspect`: what a file holds, and what is known of the scan in it."""

import argparse
import json
import logging
from pathlib import Path
from typing import Final

from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError, printable
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.recipes import NONE
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.run_names import name_of_file
from ptycho_torch.cli.console import refusing, relative, tell_next
from ptycho_torch.cli.flags import flags_of, spell
from ptycho_torch.cli.options import (
    CommandLine,
    add_config,
    add_json,
    add_quiet,
    in_the_way,
    missing_places,
    output_of,
)
from ptycho_torch.cli.parser import FlagParser

log = logging.getLogger(__name__)

PICTURES: Final = "inspections"
"""Folder, below the working directory, of pictures that are given no name."""
SHARED: Final = ("measurement_domain",)
"""Fields of [solver] that tell how a scan is read."""


def add_arguments(parser: FlagParser) -> None:
    """Add FILE and the flags: the fields of the section [data]."""
    parser.add_argument("data_file", metavar="FILE", nargs="?", help="The file to inspect.")
    add_json(parser)
    parser.add_argument(
        "--output",
        "-o",
        metavar="FILE",
        help=f"PNG file of the picture. [default: {PICTURES}/NAME-OF-FILE.png]",
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace the file of --output if it exists.")
    add_reading(parser)
    add_quiet(parser)


def add_reading(parser: FlagParser) -> None:
    """Add `--config` and the flags that tell how a scan is read."""
    add_config(parser)
    others = [name for name in section_of(SolverConfig).fields if name not in SHARED]
    parser.add_flags(flags_of(SolverConfig, without=others) + flags_of(DataConfig))


def reading(line: CommandLine) -> tuple[Path, DataConfig, str]:
    """The file that a command line names, and how it is read.

    Raises:
        ConfigError: no file is named, or a setting is wrong.
    """
    classes = (SolverConfig, PyTorchExecutionConfig)
    others = {name for cls in classes for name in section_of(cls).fields} - {*SHARED, "data_file"}
    unread = dict.fromkeys(others, "expected in a reconstruction; got it where a file is read")
    request = line.request(*classes, unread=unread)
    request.fail(missing_places(request, SolverConfig, {"data_file": "FILE"}))
    answer = request.answer()
    for told in answer.unused:
        log.info(told)
    return Path(str(request.path("data_file"))), answer[DataConfig], answer[SolverConfig].measurement_domain


def run(options: argparse.Namespace) -> int:
    """Look at the file, print what is found, and draw it.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options, recipe=NONE)
    path, settings, domain = reading(line)
    named = output_of(options)
    if named and (failures := in_the_way(named, options)):
        raise ConfigError(failures)

    from ptycho.atomic import atomic_write
    from ptycho.data_error import DataError
    from ptycho.file_inspection import NotAScan, inspect_file
    from ptycho_torch.data.completing import compare_orientations

    as_json = "json" in options
    with refusing(DataError):
        try:
            found = inspect_file(path, settings, domain, compare_orientations)
        except NotAScan as error:
            if as_json:
                held = {"holds": list(map(str, error.entries)), "scan": None, "problems": error.problems}
                print(json.dumps(held, indent=1))
            else:
                print("\n".join(f"  {printable(str(entry))}" for entry in error.entries))
            raise
    picture = named or Path(PICTURES, f"{name_of_file(path)}.png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(picture) as stream:
        stream.write(found.picture())
    if as_json:
        print(json.dumps({**found.to_dict(), "picture": str(picture)}, indent=1))
    else:
        print(f"{found}\n{relative(picture)}")
        files = [f"--config={file}" for file in vars(options).get("config", ())]
        noticed = {name: text for verdict in found.verdicts for name, text in verdict.settings.items()}
        flags = [f"{spell(name)}={text}" for name, text in {**line.flags, **noticed}.items()]
        tell_next("reconstruct", path, *files, *flags)
    return 0

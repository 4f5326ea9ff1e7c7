"""`ptycho compare RUN...`: several runs side by side, on one page."""

import argparse
from pathlib import Path

from ptycho.config.errors import ConfigError
from ptycho.data_error import DataError
from ptycho_torch.cli.console import Refusal, refusing, relative, tell_loading
from ptycho_torch.cli.options import in_the_way, output_of
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.report import add_output

PAGE = "compare.html"
MOST = 12
"""Runs on one page."""


def add_arguments(parser: FlagParser) -> None:
    """Add the runs, and where to write."""
    parser.description = (
        "Write one page with several runs side by side: their objects, which zoom together, their figures, and the "
        "settings that differ. A run on several scans counts as one run for each scan."
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="Folder of a run; two or more.")
    add_output(parser, f"The page to write. [default: {PAGE}]")


def run(options: argparse.Namespace) -> int:
    """Write the page, and print where it is.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    path = output_of(options) or Path(PAGE)
    if kept := in_the_way(path, options):
        raise ConfigError(kept)

    tell_loading()
    from ptycho_torch.runs.report.contents import folders_of
    from ptycho_torch.runs.report.writing import write_comparison

    folders = [folder for name in options.runs for folder in folders_of(Path(name))]
    if not 2 <= len(folders) <= MOST:
        way_out = "Name fewer." if len(folders) > MOST else "Name one more."
        raise Refusal(f"RUN: expected 2 to {MOST} runs; got {len(folders)}. {way_out}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with refusing(DataError):
        write_comparison(path, folders)
    print(relative(path))
    return 0

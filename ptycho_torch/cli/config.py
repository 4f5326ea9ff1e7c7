"""`ptycho config`: look at settings, check them and write them down, without running anything."""

import argparse

from ptycho_torch.cli.commands import ACTIONS
from ptycho_torch.cli.parser import FlagParser


def add_arguments(parser: FlagParser) -> None:
    """Add the actions."""
    parser.epilog = (
        "Actions print a table on a terminal and plain text elsewhere; with --json, JSON. "
        "See ptycho config ACTION --help."
    )
    parser.add_commands(ACTIONS.values(), dest="action")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for, and return its exit code.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    return ACTIONS[options.action].load().run(options)

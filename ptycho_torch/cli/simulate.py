"""`ptycho simulate`: a scan whose object and probe are known."""

import argparse
from pathlib import Path

from ptycho.config.errors import ConfigError
from ptycho.wording import counted
from ptycho_torch.cli.console import refusing, relative, tell_next_with
from ptycho_torch.cli.options import add_quiet, in_the_way, passed_flags, path_of_flag
from ptycho_torch.cli.parameters import call, parameter_flags, read_parameters
from ptycho_torch.cli.parser import FlagParser


def add_arguments(parser: FlagParser) -> None:
    """Add the flags: the parameters of `simulate_scan`."""
    from ptycho.simulation import simulate_scan

    parser.add_argument("--output", "-o", metavar="FILE", required=True, help="NPZ file to write.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    add_quiet(parser)
    parser.add_flags(parameter_flags(simulate_scan, "scan"))


def run(options: argparse.Namespace) -> int:
    """Simulate the scan and write it.

    Raises:
        ConfigError: a flag does not read as its parameter or its path, or the file is there already.
        Refusal: a parameter is out of range.
    """
    from ptycho.raw_data import DataError
    from ptycho.simulation import simulate_scan

    path = Path(path_of_flag("--output", options.output))
    kept = in_the_way(path, options)
    try:
        parameters = read_parameters(parameter_flags(simulate_scan, "scan"), passed_flags(options))
    except ConfigError as error:
        raise ConfigError([*error.failures, *kept]) from None
    if kept:
        raise ConfigError(kept)
    scan = call(simulate_scan, parameters)
    with refusing(DataError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            scan.to_file(path, overwrite="overwrite" in options)
        except FileExistsError:
            if kept := in_the_way(path, options):  # another process was faster
                raise ConfigError(kept) from None
            raise
    n, height, width = scan.patterns.shape
    print(f"{relative(path)}: {counted(n, 'pattern')} of {height} x {width} pixels, {scan.domain}")
    tell_next_with(path, height)
    return 0

"""`ptycho import`: write a scan of any layout as the NPZ of the data contract."""

import argparse
from pathlib import Path
from typing import Final

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.recipes import NONE
from ptycho.wording import counted
from ptycho_torch.cli.console import refusing, relative, tell_next_with
from ptycho_torch.cli.inspect import add_reading, reading
from ptycho_torch.cli.options import CommandLine, add_quiet, in_the_way, path_of_flag
from ptycho_torch.cli.parser import FlagParser

_NOT_FOUND_HERE: Final = Failure.of(
    "orientation",
    "expected one of the eight that can be named, which the positions are written in; got auto, which a "
    "reconstruction finds. Name it, or set it in ptycho reconstruct.",
)

OF_OPTICS: Final = ("auto", "optics", "estimate")
"""What `probe` may be where optics are of use."""
_OF_A_SEARCH: Final = Failure.of(
    "defocus",
    "expected convergence or aperture beside it, which give the probe of the file to write; got neither. "
    "Set one of them, or set defocus in ptycho reconstruct, whose search for the probe begins there.",
)


def add_arguments(parser: FlagParser) -> None:
    """Add FILE and the flags: the fields of the section [data]."""
    parser.add_argument("data_file", metavar="FILE", nargs="?", help="The file to read.")
    parser.add_argument("--output", "-o", metavar="FILE", required=True, help="NPZ file to write.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    add_reading(parser)
    add_quiet(parser)


def run(options: argparse.Namespace) -> int:
    """Read the scan, and write it.

    Raises:
        ConfigError, Refusal, OSError: wrong input, or the file is there already.
    """
    target = Path(path_of_flag("--output", options.output))
    kept = in_the_way(target, options)
    try:
        path, settings, domain = reading(CommandLine.of(options, recipe=NONE))
        kept += [_NOT_FOUND_HERE] if settings.orientation == "auto" else []
        has_lens = settings.convergence or settings.aperture
        kept += [_OF_A_SEARCH] if settings.defocus and not has_lens and settings.probe in OF_OPTICS else []
    except ConfigError as error:
        raise ConfigError([*error.failures, *kept]) from None
    if kept:
        raise ConfigError(kept)

    from ptycho.raw_data import DataError, RawData

    with refusing(DataError):
        scan = RawData.from_file(path, domain, reading=settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        scan.to_file(target, overwrite="overwrite" in options)
    n, height, width = scan.patterns.shape
    probe = "" if scan.has_probe else ", no probe"
    print(f"{relative(target)}: {counted(n, 'pattern')} of {height} x {width} pixels, {scan.domain}{probe}")
    if scan.has_probe and has_lens and settings.probe in OF_OPTICS:
        print(
            "Its probe is that of the optics: a reconstruction refines it, but does not look for another defocus."
        )
    tell_next_with(target, height)
    return 0

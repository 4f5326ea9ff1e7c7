"""`ptycho report RUN`: the report of a run, made anew."""

import argparse
import contextlib
from pathlib import Path

from ptycho.config.errors import ConfigError
from ptycho.data_error import DataError
from ptycho_torch.cli.console import Refusal, refusing, relative, tell_loading
from ptycho_torch.cli.options import in_the_way, output_of
from ptycho_torch.cli.parser import FlagParser


def add_arguments(parser: FlagParser) -> None:
    """Add the run, and where to write."""
    parser.description = (
        "Write report.html of a run again, from its files: the object, figures and a verdict, the worst predicted "
        "patterns, the settings, and the command that repeats the run. It opens from the disk, without a network. A "
        "run on several scans has a page in the folder of each."
    )
    parser.add_argument(
        "run", metavar="RUN", help="Folder of a training, of a reconstruction, or of one scan of it."
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="Serve the page to a browser on this machine until Ctrl-C, and reload it whenever the run writes a new "
        "one. No files are written.",
    )
    add_output(parser, "Write the page to this file, and do not change the folder of the run.")


def add_output(parser: FlagParser, words: str) -> None:
    """Add where to write a page."""
    parser.add_argument("--output", "-o", metavar="FILE", help=words)
    parser.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")


def run(options: argparse.Namespace) -> int:
    """Write the report, and print where it is.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    place = output_of(options)
    if "watch" in options:
        if place is not None:
            raise Refusal("--watch: expected without --output; got both. Drop one.")
        return _watch(Path(options.run))
    if kept := in_the_way(place, options) if place else []:
        raise ConfigError(kept)

    tell_loading()
    from ptycho_torch.runs.report.contents import folders_of, read_contents
    from ptycho_torch.runs.report.page import report_page
    from ptycho_torch.runs.report.writing import make_reports, write_page

    with refusing(DataError):
        if place is None:
            made = make_reports(Path(options.run))
        else:
            folder, *others = folders_of(Path(options.run))
            if others:
                raise Refusal("--output: expected a run on one scan; got several. Leave it out.")
            contents = read_contents(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_page(place, report_page(contents))
            made = {place: contents}
    for path in made:
        print(relative(path))
    return 0


def _watch(run_dir: Path) -> int:
    """Serve the report of a run, or of the first scan of one on several, until an interrupt."""
    tell_loading()
    from ptycho.run_files import REPORT
    from ptycho_torch.runs.report.contents import folders_of
    from ptycho_torch.runs.report.serving import Server

    with Server(folders_of(run_dir)[0] / REPORT) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"{server.url} shows {relative(server.path)}; Ctrl-C ends it", flush=True)
        server.serve_forever()
    return 0

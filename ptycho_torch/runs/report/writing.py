"""Writing the report of a run."""

from collections.abc import Sequence
from pathlib import Path

from ptycho.atomic import atomic_write
from ptycho.checksums import Checksums
from ptycho.recorded import run_dir_of
from ptycho.run_files import REPORT
from ptycho.run_folder import RunFolder
from ptycho_torch.runs.report.contents import Contents, folders_of, read_contents
from ptycho_torch.runs.report.page import comparison_page, report_page


def add_report(new: Path, folder: Path, run_dir: Path) -> None:
    """Write the report of results that are about to appear.

    Args:
        new: where they are.
        folder: where they will be.
        run_dir: folder of the run, with its record.
    """
    write_page(new / REPORT, report_page(read_contents(folder, new=new, run_dir=run_dir)))


def make_reports(named: Path) -> dict[Path, Contents]:
    """Write the reports of a run anew.

    Args:
        named: the folder of a run, or of one of its scans.

    Returns:
        Report -> what it is of; one for each scan.

    Raises:
        ConfigError: there is no run, its record is damaged, or another process writes into it.
        DataError: an NPZ file is damaged.
    """
    run_dir = run_dir_of(folders_of(named)[0])  # refused, where there is no run, before a lock is made
    made: dict[Path, Contents] = {}
    with RunFolder(run_dir):
        checksums = Checksums(run_dir)
        for folder in folders_of(named):
            contents = read_contents(folder, run_dir=run_dir)
            with checksums.write(folder / REPORT) as file:
                file.write(report_page(contents).encode())
            made[folder / REPORT] = contents
        checksums.settle()
    return made


def write_comparison(path: Path, folders: Sequence[Path]) -> None:
    """Write the page that shows the results in several folders side by side.

    Raises:
        ConfigError: there is no run, or its record is damaged.
        DataError: an NPZ file is damaged.
    """
    write_page(path, comparison_page([read_contents(folder) for folder in folders]))


def write_page(path: Path, page: str) -> None:
    """Write a page."""
    with atomic_write(path) as file:
        file.write(page.encode())

"""What a file holds, and what is known of the scan in it."""

from collections.abc import Callable
from pathlib import Path

from ptycho.config.data import DataConfig
from ptycho.data_error import DataError
from ptycho.formats.trees import Entry, open_tree
from ptycho.inspection import Compared, Inspection, inspected
from ptycho.raw_data import RawData


class NotAScan(DataError):
    """A file in which no scan is found as the settings have it; what it holds is known all the same.

    Attributes:
        entries: its arrays.
    """

    def __init__(self, error: DataError, entries: list[Entry]) -> None:
        super().__init__(*error.problems)
        self.entries = entries


def inspect_file(
    path: Path, settings: DataConfig, domain: str, compare: Callable[[RawData], Compared]
) -> Inspection:
    """Look at a file.

    Args:
        path: the file.
        settings: of [data].
        domain: 'amplitude' or 'intensity' where it is set.
        compare: compares orientations.

    Raises:
        FileNotFoundError: no such file.
        NotAScan: no scan is found in it; everything that is wrong, and what it holds.
        DataError: it is no file of any format.
    """
    with open_tree(path) as tree:
        entries = tree.entries()
    try:
        scan = RawData.from_file(path, domain, reading=settings, some=True)
    except DataError as error:
        raise NotAScan(error, entries) from None
    return inspected(scan, compare(scan), tuple(map(str, entries)))

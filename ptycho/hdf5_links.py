"""Which other files an HDF5 file may name: HDF5 files of its folder, as detectors write them beside a master file."""

import os
from pathlib import Path
from typing import Final

MOST_FILES: Final = 10_000
"""Other files that one dataset may consist of."""
DEEPEST: Final = 2
"""Files that name each other, one after the other."""
IN_FOLDER: Final = "values in this file, or in HDF5 files in its folder"
COPY: Final = (
    "Copy that file into the folder of this one, under the name that is used here; or copy the values into this "
    "one (h5py)."
)


def beside(path: Path, named: str) -> Path | None:
    """The file that another one names, where it is in the folder of that one or below; else None.

    Links of the file system are followed: whoever made them may read where they lead.

    Args:
        path: the file that names it.
        named: what it says, relative to its folder.
    """
    folder = os.path.abspath(path.parent)
    place = os.path.normpath(os.path.join(folder, named))
    return Path(place) if place.startswith(folder + os.sep) and os.path.isfile(place) else None


def link_text(named: str, path: Path) -> str:
    """A link to another file that is not followed, in words."""
    is_there = os.path.exists(os.path.join(path.parent, named))
    return f"a link to the file {named!r}, which is {'not a file in its folder' if is_there else 'not there'}"

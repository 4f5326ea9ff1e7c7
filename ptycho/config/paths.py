"""The configuration files that a run reads: those that its user names, and those of a variable."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias, cast

from ptycho.config.errors import ConfigError, Failure, path_of, show

Files: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One configuration file, or several, the last one strongest."""

VARIABLE: Final = "PTYCHO_CONFIG"
"""The variable that names the files of a site; they are separated as folders are in PATH."""


def paths_of(files: Files | None) -> list[str]:
    """Return the paths of files, the last one strongest.

    Raises:
        ConfigError: One of them is no path.
    """
    if files is None:
        return []
    several = isinstance(cast(object, files), (list, tuple))
    return [path_of(file) for file in cast(Sequence[object], files if several else [files])]


def paths_in(environ: Mapping[str, str]) -> list[str]:
    """Return the paths in the variable, the last one strongest; a blank one counts as unset.

    Raises:
        ConfigError: It holds something other than text.
    """
    said = cast(object, environ.get(VARIABLE, "")) if isinstance(cast(object, environ), Mapping) else ""
    if not isinstance(said, str):
        raise ConfigError([Failure(VARIABLE, f"{VARIABLE}: expected text; got {show(said)}.")])
    return [path.strip() for path in said.split(os.pathsep) if path.strip()]


def ranked_paths(files: Files | None, environ: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield every file with its level: from 0 those that are named, below it those of the variable."""
    ambient = paths_in(environ)
    yield from enumerate(ambient, -len(ambient))
    yield from enumerate(paths_of(files))

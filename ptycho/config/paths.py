"""Paths: what stands for a folder in their text, and the configuration files that a run reads."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from ptycho.config.errors import ConfigError, show

Files: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One configuration file, or several, the last one strongest."""

VARIABLE: Final = "PTYCHO_CONFIG"
"""The variable that names the files of a site; they are separated as folders are in PATH."""

RUNS: Final = "runs"
"""Folder, below the working directory, of the runs that are given no folder."""
RECONSTRUCTIONS: Final = "reconstructions"
"""The same of reconstructions without a model."""

Variable: TypeAlias = Callable[[str], object]
"""Gives the text of a variable; anything else where it has none."""
_IN_PATH: Final = r"(?a)\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\}|(?=\{))"


class PathError(ValueError):
    """A path names a variable that is not set, or a user who does not exist."""


def expanded(written: str, folder: str = "", variable: Variable = os.environ.get) -> str:
    """Replace `~`, `$NAME` and `${NAME}` in a path; `$$` is `$` itself.

    Args:
        written: The path.
        folder: What a relative one is relative to; empty: the working directory, and the path stays relative.
        variable: Gives the text of a variable.

    Raises:
        PathError: A variable is not set, or empty; or there is no such user.
    """
    start, slash, rest = written.partition("/") if written.startswith("~") else ("", "", written)
    home = os.path.expanduser(start)
    if home.startswith("~"):
        raise PathError(f"{home} has no home folder here. Write out the path, or begin it with ./")

    def value(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name = found[2] or found[3]
        if not name:
            raise PathError(
                "expected a variable as $NAME or ${NAME}. Write it like this, or $$ for the character $ itself"
            )
        text = variable(name)
        if not isinstance(text, str) or not text.strip():
            raise PathError(f"the variable {name} is not set. Set it, or write $$ for the character $ itself")
        return text.strip()

    path = f"{home}{slash}{re.sub(_IN_PATH, value, rest)}"
    return str(Path(folder, path)) if folder else path


def written(path: str) -> str:
    """Write a path as text that reads back as it is, from wherever it is read if it begins at the root."""
    whole = os.path.join(".", path).replace("$", "$$")
    return f"{whole}/" if whole[-1].isspace() else whole  # text is trimmed


def absolute(path: str) -> str:
    """Return a path from the root, of one that is relative to the working directory."""
    return str(Path(path).absolute())


def paths_in(said: object, variable: Variable) -> list[str]:
    """Return the files that the variable PTYCHO_CONFIG names; None, and what is blank, names none.

    Raises:
        ConfigError: It holds something other than text, or what stands for a folder is not there.
    """
    if not isinstance(said, str | None):
        raise ConfigError.of(VARIABLE, f"expected text; got {show(said)}.")
    try:
        return [
            expanded(path.strip(), "", variable) for path in (said or "").split(os.pathsep) if path.strip()
        ]
    except PathError as error:
        raise ConfigError.of(VARIABLE, f"{error}.") from None

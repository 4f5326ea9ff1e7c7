"""The version of the package."""

import functools


@functools.cache
def installed_version() -> str:
    """The version that is installed; read when it is first asked for."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ptychopinn")
    except PackageNotFoundError:
        return "0+unknown"

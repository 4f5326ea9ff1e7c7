"""PtychoPINN core: settings, scans and grouping, free of any deep-learning framework."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """Read the installed version when it is first asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ptychopinn")
    except PackageNotFoundError:
        return "0+unknown"

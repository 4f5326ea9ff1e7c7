"""`python -m ptycho_torch.inference`: the historical command line of a reconstruction."""

from collections.abc import Sequence

from ptycho_torch.cli.historical import run_door


def main(argv: Sequence[str] | None = None) -> int:
    """Reconstruct; see `ptycho reconstruct --help` for the flags, beside which the historical names work.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit code.
    """
    return run_door("reconstruct", argv)


if __name__ == "__main__":
    raise SystemExit(main())

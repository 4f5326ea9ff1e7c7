"""`python -m ptycho_torch.train`: the historical command line of a training."""

from collections.abc import Sequence

from ptycho_torch.cli.historical import run_door


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see `ptycho train --help` for the flags, beside which the historical names work.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit code.
    """
    return run_door("train", argv)


if __name__ == "__main__":
    raise SystemExit(main())

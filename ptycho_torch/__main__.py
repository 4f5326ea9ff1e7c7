"""`python -m ptycho_torch` is the `ptycho` command."""

from ptycho_torch.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

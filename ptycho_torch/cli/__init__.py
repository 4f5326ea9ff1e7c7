"""The `ptycho` command."""

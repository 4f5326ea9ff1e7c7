"""`ptycho completion`: a script that completes the command line in a shell."""

import argparse
from collections.abc import Iterator

from ptycho_torch.cli.console import Refusal
from ptycho_torch.cli.parser import FlagParser

SHELLS = ("bash", "zsh", "fish")
PATHS = ("DATA", "FILE", "MODEL", "PATH", "RUN", "RUN_OR_FILE")
"""What the help text calls a path."""


def add_arguments(parser: FlagParser) -> None:
    """Add the shell."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "To have it in every new shell:\n"
        "  bash  d=~/.local/share/bash-completion/completions; mkdir -p $d\n"
        "        ptycho completion bash > $d/ptycho\n"
        "  zsh   ptycho completion zsh > _ptycho, in a folder of $fpath\n"
        "  fish  ptycho completion fish > ~/.config/fish/completions/ptycho.fish\n"
        "In this shell only: source <(ptycho completion bash)"
    )
    parser.add_argument(
        "shell", metavar="SHELL", nargs="?", default=None, choices=SHELLS, help="bash, zsh or fish."
    )


def run(options: argparse.Namespace) -> int:
    """Print the script.

    Raises:
        Refusal: no shell was named.
    """
    if options.shell is None:
        raise Refusal(f"expected a shell ({', '.join(SHELLS)}); got none. Name yours.")
    import shtab

    parser: FlagParser = options.whole_parser
    for _, command in parser.walk():
        command.describe()
        for action in command._actions:
            if action.metavar in PATHS:
                vars(action)["complete"] = shtab.FILE
            elif action.choices is None:
                action.choices = vars(action).get("words") or None
    script = shtab.complete(parser, options.shell)
    print("\n".join(_own_words(script, parser)) if options.shell == "zsh" else script)
    return 0


def _own_words(script: str, parser: FlagParser) -> Iterator[str]:
    """The lines of a zsh script, but for the words of inner commands that shtab offers one command too early."""
    inner = {name for path, _ in parser.walk() if len(path) == 3 and path[0] == "config" for name in path[2:]}
    strange = tuple(f"    {name}:'" for name in inner) + tuple(
        f"        {name}) _arguments -C -s $_shtab_ptycho_config_{name}_options" for name in inner
    )
    listing = ""
    for line in script.splitlines():
        listing = line.partition("(")[0] if line.endswith("() {") else listing
        is_offered = line.startswith(strange) and listing.startswith("_shtab_ptycho_config")
        if not (is_offered and not listing.startswith("_shtab_ptycho_config_show")):
            yield line

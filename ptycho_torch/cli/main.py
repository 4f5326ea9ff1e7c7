"""The `ptycho` command. Wrong input gives one message and exit code 2; only a defect of ours gives a traceback."""

import argparse
import contextlib
import gc
import io
import signal
import sys
from collections.abc import Sequence

from ptycho.config.errors import ConfigError, near
from ptycho.loading import loading
from ptycho.version import installed_version
from ptycho_torch.cli.commands import COMMANDS
from ptycho_torch.cli.console import (
    UNLEARNED,
    Interruption,
    Refusal,
    flush_streams,
    is_first_process,
    lines_of,
    memory_failure,
    open_streams,
    plain_log,
    plain_warnings,
    worded,
)
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.stopping import INTERRUPTED, TERMINATED, DivergedError, RunError, Terminated, stoppable

FAILED = 1
"""Exit code of a run that the machine ended, and of a defect of ours."""
WRONG_INPUT = 2
BROKEN_PIPE = 141
"""Exit code where a reader such as `head` has seen enough: 128 and the number of the signal."""


class _Version(argparse.Action):
    """Shows the version, which is looked for when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *passed: object) -> None:
        print(f"ptychopinn {installed_version()}")
        parser.exit()


def build_parser() -> FlagParser:
    """The parser of the whole command line."""
    parser = FlagParser(
        prog="ptycho",
        description="Reconstruct ptychographic scans with an iterative solver or a physics-informed network.",
        epilog="ptycho COMMAND --help, or ptycho help COMMAND, explains a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="Show the version and exit.")
    parser.set_defaults(whole_parser=parser)
    parser.add_commands(COMMANDS.values(), dest="command")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        0; 1 where the machine ended a run; 2 for wrong input; 3 where a training diverged or did not learn; 130 when
        interrupted, 143 when ended by SIGTERM, 141 when the reader of the output has closed it.

    Raises:
        SystemExit: help or the version was asked for (0), or the command line is wrong (2).
    """
    open_streams()
    try:
        with stoppable(signal.SIGINT, signal.SIGTERM):
            code = _run(list(sys.argv[1:] if argv is None else argv), owns_process=argv is None)
    except KeyboardInterrupt:  # before the command began
        code = INTERRUPTED
    except SystemExit as leaving:
        raise SystemExit(leaving.code or _code_of_output(flush_streams())) from None
    return code or _code_of_output(flush_streams())


def _code_of_output(unwritten: OSError | None) -> int:
    """The exit code of a command that has done what it was asked for, by the error of its output."""
    if isinstance(unwritten, BrokenPipeError):
        return BROKEN_PIPE
    return 0 if unwritten is None else _say(f"standard output: {worded(unwritten)}", WRONG_INPUT)


def _run(words: list[str], *, owns_process: bool) -> int:
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    chosen = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser()
    parser.refuse_flags_before_a_command(words)
    if chosen is not None and chosen not in COMMANDS:
        close = near(chosen, tuple(COMMANDS))
        hint = f"Did you mean {close}?" if close else f"The commands are {', '.join(COMMANDS)}."
        parser.error(f"{chosen}: no such command. {hint}")
    try:
        with plain_warnings(), loading():
            options = parser.parse_args(words)
    except OSError as unwritten:  # the help, or the version
        return _code_of_output(unwritten)
    if owns_process:
        gc.freeze()  # what is loaded by now stays to the end, where Python would look through it once more
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that it cannot spell is no failure
    with plain_warnings(), plain_log(quiet="quiet" in options):
        try:
            return COMMANDS[options.command].load().run(options)
        except (ConfigError, Refusal) as error:
            code = UNLEARNED if isinstance(error, DivergedError) else WRONG_INPUT
            return _say(f"{chosen}: {lines_of(error)}", code)
        except Warning as raised:
            message = f"a warning that Python treats as an error (-W, PYTHONWARNINGS): {lines_of(raised)}"
            return _say(f"{chosen}: {message}", WRONG_INPUT)
        except BrokenPipeError:
            return BROKEN_PIPE
        except OSError as error:
            return _say(f"{chosen}: {worded(error)}", WRONG_INPUT)
        except RunError as error:
            return _say(f"{chosen}: {lines_of(error)}", FAILED)
        except (MemoryError, RuntimeError) as error:
            if (message := memory_failure(error)) is None:
                raise
            return _say(f"{chosen}: {message}", WRONG_INPUT)
        except Interruption as interruption:
            return _say(f"{chosen}: {lines_of(interruption)}", interruption.code, first_only=True)
        except KeyboardInterrupt:
            return _say(f"{chosen}: interrupted.", INTERRUPTED, first_only=True)
        except Terminated:
            return _say(f"{chosen}: ended by SIGTERM.", TERMINATED, first_only=True)


def _say(message: str, code: int, *, first_only: bool = False) -> int:
    if first_only and not is_first_process():
        return code
    with contextlib.suppress(OSError):  # the reader has gone; the exit code tells
        print(f"ptycho {message}", file=sys.stderr)
    return code

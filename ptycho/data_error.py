"""DataError, the one error of measured data, and the wording that its messages share."""

from collections.abc import Mapping
from typing import Final

from ptycho.config.errors import printable

_IN_A_LOADER: Final = "Caught DataError in DataLoader worker process"
"""How the text begins that torch makes of an error in a loading process: a traceback, at its end the message."""


class DataError(ValueError):
    """Measured data that cannot be used: one message per problem, all problems of one file together.

    Attributes:
        problems: the messages, one line each, which name the array, what was expected, what was found and what to do.
            What would not print, or steers a terminal, is spelled out.
    """

    def __init__(self, *problems: str) -> None:
        if len(problems) == 1 and problems[0].startswith(_IN_A_LOADER):
            problems = tuple(problems[0].rpartition(f"{__name__}.DataError: ")[2].strip().splitlines())
        self.problems = tuple(map(printable, problems))
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


def called(what: str, names: Mapping[str, str]) -> str:
    """What a file calls arrays.

    Args:
        what: keys of the data contract, with commas between them; or anything else, which stays.
        names: key -> what the file calls it.
    """
    return ", ".join(dict.fromkeys(names.get(key, key) for key in what.split(", ")))


def problem(what: str, expected: str, got: str, origin: object, advice: str) -> str:
    """One problem in the house format, on one line: the thing, the rule, what was found where, the way out."""
    return printable(f"{what}: expected {expected}; got {got} from {origin}. {advice}")

"""What is found out about a scan or a result by cheap statistics, in a form that a log, a table and JSON share."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ptycho.data_error import called, problem

Severity = Literal["note", "warning", "error"]
"""A note is information; with a warning a picture may still come out; after an error nothing sensible can follow."""


class Verdict(NamedTuple):
    """One finding."""

    name: str
    """What was looked at: `saturation`, `hot_pixels` ..."""
    severity: Severity
    """How bad it is."""
    statistic: float | None
    """The number that decided; None where there is no single one."""
    unit: str
    """Of the statistic: `px`, `patterns`, `of the light` ..."""
    sentence: str
    """What was found, without a full stop; of an error 'what: expected ...; got ...'."""
    remedy: str
    """What to do about it, or to set: a sentence."""
    settings: Mapping[str, str] = {}
    """What the remedy sets where it is that alone: field -> value."""

    @property
    def text(self) -> str:
        """Finding and remedy, as a log has them."""
        return f"{self.sentence}. {self.remedy}".strip()

    def to_json(self) -> dict[str, object]:
        """As JSON data."""
        return self._asdict()

    def problem(self, origin: object, names: Mapping[str, str]) -> str:
        """An error in the house format.

        Args:
            origin: the file that it is about.
            names: key of the data contract -> what the file calls it.
        """
        what, _, rest = self.sentence.partition(": expected ")
        expected, _, got = rest.partition("; got ")
        return problem(called(what, names), expected, got, origin, self.remedy)


def refusal(
    name: str,
    what: str,
    expected: str,
    got: str,
    remedy: str,
    *,
    statistic: float | None = None,
    unit: str = "",
) -> Verdict:
    """A verdict after which nothing sensible can follow, in the words of the house format."""
    return Verdict(name, "error", statistic, unit, f"{what}: expected {expected}; got {got}", remedy)

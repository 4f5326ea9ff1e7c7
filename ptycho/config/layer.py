"""What one source gives: values by name, where they stand, and what was wrong."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ptycho.config.errors import Failure
from ptycho.config.origins import Origin


class Layer(NamedTuple):
    """The values of one source. A name it does not hold is one it is silent about."""

    kind: str
    """One of `origins.PRECEDENCE`, or the class name of a source that a subclass added."""
    values: Mapping[str, Any]
    """Name -> value; text is already read into the field's type where it spells one."""
    locators: Mapping[str, str] = {}
    """Name -> the place in the source."""
    raw: Mapping[str, str] = {}
    """Name -> the text as written."""
    failures: tuple[Failure, ...] = ()
    """What was wrong in reading the source: unknown, repeated or misplaced names."""
    level: int = 0
    """Standing among layers of one kind: the higher wins."""

    def origin(self, name: str, shadowed: tuple[Origin, ...] = ()) -> Origin:
        """Describe where this layer has a name from, and the origins it beats."""
        locator, raw = self.locators.get(name, ""), self.raw.get(name)
        return Origin(self.kind, locator, raw, shadowed, self.values[name])

"""Whether patterns are amplitudes or intensities: by a setting, an earlier run, the metadata, or the values."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, Self, cast

import numpy as np

from ptycho.data_error import problem
from ptycho.pattern_statistics import noise_over_mean
from ptycho.stored_array import Array, Stack

Domain = Literal["amplitude", "intensity"]
DOMAINS: Final[tuple[Domain, ...]] = ("amplitude", "intensity")

FINGERPRINTED: Final = 64
"""Patterns that enter the fingerprint of a stack."""

LEAST_COUNTING_NOISE: Final = 0.85
"""Ratio of noise to its mean for counts, below which whole numbers are not counts."""

FEWEST_VALUES: Final = 3
"""Different values that must be multiples of one number, before they count as such."""

LARGEST_MULTIPLE: Final = 1000.0
"""Multiples up to which that is asked: larger ones are rounded too much in single precision."""

SURE_MULTIPLE: Final = 20.5
"""Multiples up to which rounding leaves no doubt of the whole number; these tell that one number."""

ROUNDED: Final = 0.01
"""Distance from a whole number that is rounding."""

OF_ROOTS: Final = (2.5e-7, 1e4, 2.0)
"""Relative error of a root in single precision, the largest count whose root tells by it, and how many times the step
between the roots of whole numbers must be that to which they are rounded, before it tells."""

SET: Final = "measurement_domain is set"
"""The reason that is a setting."""
AS_TRAINED: Final = "as in the earlier run: "
"""The beginning of a reason that comes from an earlier run on the same patterns."""


class Sample:
    """Some patterns of a scan.

    Args:
        values: float64 (k, N, N) >= 0; pixels without a measurement are 0.
    """

    def __init__(self, values: Array) -> None:
        self.values = values

    @cached_property
    def step(self) -> float | None:
        """The number that their values are multiples of, see `step_of`."""
        return step_of(self.values)

    @cached_property
    def are_roots(self) -> bool:
        """Whether their values are square roots of whole numbers, see `are_roots`."""
        return are_roots(self.values)


class Decision(NamedTuple):
    """How patterns are read."""

    domain: Domain
    reason: str
    """Why, as a clause."""
    is_stated: bool
    """Whether a setting, the file or an earlier run states it; otherwise it follows from the values."""

    @property
    def way_out(self) -> str:
        """A sentence on what to set if it is not stated; otherwise empty."""
        if self.is_stated:
            return ""
        other = "intensity" if self.domain == "amplitude" else "amplitude"
        return f" The file does not state it: set measurement_domain to {self.domain}, or to {other} if that is wrong."


class ReadAs(NamedTuple):
    """How a training read one of its scans."""

    patterns_sha256: str
    domain: Domain
    reason: str


@dataclass(frozen=True)
class TrainedDomains:
    """What a training knew of the domain of its scans, kept with the run and the model.

    Attributes:
        stated: the setting of the training where it was not 'auto'; else None.
        scans: how it read each of them.
    """

    stated: Domain | None = None
    scans: Sequence[ReadAs] = field(default_factory=tuple)

    @classmethod
    def of(cls, setting: str, recorded: object) -> Self:
        """From the setting `measurement_domain` and what `to_json` gave; anything else is left out."""
        rows = cast(list[Any], recorded) if isinstance(recorded, list) else []
        mappings = [cast(dict[str, Any], row) for row in rows if isinstance(row, dict)]
        scans = [
            ReadAs(str(row.get("patterns_sha256")), row["domain"], str(row.get("reason")))
            for row in mappings
            if row.get("domain") in DOMAINS
        ]
        return cls(setting if setting in DOMAINS else None, scans)

    def to_json(self) -> list[dict[str, str]]:
        """How each scan was read, as JSON data."""
        return [scan._asdict() for scan in self.scans]

    def of_scan(self, fingerprint: str) -> ReadAs | None:
        """How the scan with these patterns was read; None for one that was not trained on."""
        return next((scan for scan in self.scans if scan.patterns_sha256 == fingerprint), None)

    @property
    def usual(self) -> Domain | None:
        """The domain of all scans of the training; None where they differ or are not known."""
        domains: list[Domain] = [scan.domain for scan in self.scans]
        return domains[0] if len(set(domains)) == 1 else None

    @property
    def expected(self) -> str:
        """What a scan is taken to be that states nothing, before its values are known; 'auto': they decide."""
        return self.stated or ("intensity" if self.usual == "intensity" else "auto")


def patterns_fingerprint(patterns: Stack) -> str:
    """SHA-256 of patterns as stored: dtype, shape and up to 64 of them, whatever they are read as."""
    told = hashlib.sha256(f"{patterns.dtype} {patterns.shape}".encode())
    for row in np.unique(np.linspace(0, len(patterns) - 1, FINGERPRINTED).astype(int)):
        told.update(np.ascontiguousarray(patterns[row]).tobytes())
    return told.hexdigest()


def check_word(domain: str) -> None:
    """Refuse an unknown word for a domain.

    Raises:
        ValueError: the word is not 'auto', 'amplitude' or 'intensity'.
    """
    if domain not in ("auto", *DOMAINS):
        words = "'auto', 'amplitude' or 'intensity'"
        raise ValueError(problem("domain", words, repr(domain), "argument", "Correct the word."))


def decide_domain(
    setting: str,
    metadata: Mapping[str, Any],
    patterns: Stack,
    sample: Sample,
    whole: bool,
    trained: TrainedDomains | None = None,
) -> Decision:
    """Amplitude or intensity, and why. The first of these decides.

    The caller; the training of the model in use, for a scan that it was trained on; the metadata of the file; what
    files of its format hold, unless all values are square roots of whole numbers; the setting of that training; whole
    numbers, or multiples of one number, or such roots; how that training read its scans; else amplitude.

    Args:
        setting: 'amplitude' or 'intensity'; 'auto' leaves it to the others.
        metadata: may hold `measurement_domain`, or `usual_domain`, that of files of its `format`.
        patterns: (n, N, N).
        sample: some of them.
        whole: whether all other values are whole numbers.
        trained: the domains of the training of the model in use.

    Raises:
        ValueError: another word for the setting.
    """
    check_word(setting)
    if setting in DOMAINS:
        return Decision(setting, SET, True)
    known = None if trained is None else trained.of_scan(patterns_fingerprint(patterns))
    if known is not None:
        return Decision(known.domain, AS_TRAINED + known.reason.removeprefix(AS_TRAINED), True)
    if metadata.get("measurement_domain") in DOMAINS:
        return Decision(metadata["measurement_domain"], "stated in the metadata", True)
    by_values = _by_values(patterns.dtype, sample, whole)
    if metadata.get("usual_domain") in DOMAINS and not sample.are_roots:
        return _as_usual(metadata["usual_domain"], str(metadata.get("format")), by_values)
    if trained is not None and trained.stated is not None:
        reason = "measurement_domain was set in the training of the model"
        differs = by_values is not None and by_values.domain != trained.stated
        doubt = f", although {by_values.reason}" if by_values is not None and differs else ""
        return Decision(trained.stated, reason + doubt, not differs)
    if by_values is not None:
        return by_values
    if trained is not None and trained.usual is not None:
        return Decision(trained.usual, "the model was trained on scans of this kind", False)
    return Decision("amplitude", "not all values are whole numbers", False)


def _as_usual(usual: Domain, format_name: str, by_values: Decision | None) -> Decision:
    """The domain that files of a format have, with what their values say against it."""
    held = "counts" if usual == "intensity" else "square roots of counts"
    reason = f"as files of {format_name} hold {held}"
    if by_values is not None and by_values.domain == usual:
        return Decision(usual, reason, True)
    doubt = "not all values are whole numbers" if by_values is None else by_values.reason
    return Decision(usual, f"{reason}, although {doubt}", False)


def _by_values(dtype: np.dtype[Any], sample: Sample, whole: bool) -> Decision | None:
    """The domain of whole numbers, or of multiples of one number: counts, or square roots of counts, rounded."""
    if sample.are_roots:
        return Decision("amplitude", "all values are square roots of whole numbers", False)
    step = 1.0 if whole else sample.step
    if step is None:
        return None
    if not whole and are_roots(sample.values, step):
        reason = f"all values are square roots of whole numbers, rounded to multiples of {step:.4g}"
        return Decision("amplitude", reason, False)
    found = f"whole numbers ({dtype})" if whole else f"multiples of {step:.4g}"
    noise = noise_over_mean(sample.values / step) if np.ptp(sample.values) > 0 else None
    if noise is None or noise >= LEAST_COUNTING_NOISE:
        return Decision("intensity", f"all values are {found}: they must be counts", False)
    what = f"the {found}" if whole else "the values"
    varied = f"vary {noise:.2g} times as much as counts of that size would"
    if dtype == np.uint8 or not whole:
        return Decision("amplitude", f"{what} {varied}: they must be rounded square roots", False)
    doubt = f"although they {varied}, as rounded square roots or averages do"
    return Decision("intensity", f"all values are {found}: they must be counts, {doubt}", False)


def are_roots(sample: Array, step: float | None = None) -> bool:
    """Whether values (k, N, N) >= 0 are square roots of whole numbers, and some of them not whole.

    Args:
        sample: the values; those whose roots lie too close together tell nothing.
        step: the number to whose multiples the roots are rounded; None: they are in single precision.
    """
    values = np.unique(sample[sample > 0])
    error, most, apart = OF_ROOTS
    off = error * values if step is None else np.full_like(values, (0.5 + ROUNDED) * step)
    told = values**2 <= most if step is None else values * 2 * apart * step <= 1
    values, off = values[told], off[told]
    n_parts = int(np.count_nonzero(np.abs(values - np.rint(values)) > off))
    return n_parts >= FEWEST_VALUES and bool((np.abs(np.sqrt(np.rint(values**2)) - values) <= off).all())


def step_of(sample: Array) -> float | None:
    """The number that values (k, N, N) >= 0 are whole multiples of, those of up to `LARGEST_MULTIPLE`; or None."""
    values = np.unique(sample[sample > 0])
    if len(values) < FEWEST_VALUES:
        return None
    apart = np.diff(values)
    apart = apart[apart > 0.5 / LARGEST_MULTIPLE * values[1:]]  # others are equal but for rounding
    step = float(apart.min(initial=np.inf))
    first = values[(values >= step / 2) & (values <= SURE_MULTIPLE * step)]
    if not len(first):
        return None
    step = float(np.median(first / np.rint(first / step)))
    ratios = values[values <= LARGEST_MULTIPLE * step] / step
    is_whole = len(ratios) >= FEWEST_VALUES and float(np.abs(ratios - np.rint(ratios)).max()) < ROUNDED
    return step if is_whole else None

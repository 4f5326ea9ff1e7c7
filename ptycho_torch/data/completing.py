"""What a file does not tell of a scan, found from its patterns: a probe, and the orientation of its positions."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho.config.errors import printable
from ptycho.config.quantities import LENGTHS, quantity
from ptycho.formats.optics import in_rad_px2
from ptycho.formats.orientation import ORIENTATIONS, oriented
from ptycho.inspection import Compared
from ptycho.pattern_statistics import N_CENTRAL, central_rows
from ptycho.photon_scale import photon_scale
from ptycho.probe import far_field_light
from ptycho.raw_data import RawData
from ptycho.verdict import Verdict
from ptycho_torch.solver import (
    HOLES,
    FoundProbe,
    Patterns,
    Ranked,
    Trials,
    mean_pattern,
    pupil_radius,
    rank_orientations,
    search_near,
    search_probe,
)

logger = logging.getLogger(__name__)

CLEARLY: Final = 0.8
"""Another orientation is clearly better at this part of the error of the one in force."""
FEWEST: Final = 20
"""With fewer patterns orientations are not compared."""
N_ITERATIONS: Final = 5
"""Of each of them then."""
N_SET: Final = 12
"""Of each of them with the optics that are set, as many as of a defocus that is found."""
CONE: Final = (0.6, 1.25)
"""The radius of a pupil over that of the patterns, outside which it is not theirs; objects scatter light outwards."""
WITHOUT_PROBE: Final = ("identity", "flip-x", "transpose", "rotate-90")
"""One orientation of each pair that patterns alone do not tell apart: those that differ by half a turn."""


class Findings(NamedTuple):
    """What was found of a scan."""

    probe: NDArray[np.complex64] | None
    """(1, N, N); None: that of the scan is used."""
    orientation: str
    """Of the positions, on top of how they were read."""
    unclear_error: float | None = None
    """Of a probe that was found and is not far better than other guesses (`Trials.error`); None of one that is."""


def find(scan: RawData, ids: NDArray[np.int64]) -> Findings:
    """Find what the file of a scan does not tell, and the settings ask for; what was found is logged.

    Args:
        scan: as it was read.
        ids: patterns that may be used, increasing.
    """
    searches = scan.reading.orientation == "auto"
    if scan.has_probe and not searches and not _of_optics(scan):
        return Findings(None, "identity")
    patterns = Patterns(scan.patterns, scan.domain, scan.bad_pixels)
    if _of_optics(scan):
        return _near_optics(scan, patterns, ids, searches)
    if scan.has_probe:
        trials = Trials(patterns, torch.from_numpy(scan.positions_px), ids)
        ranked = rank_orientations(trials, torch.from_numpy(scan.probe), ORIENTATIONS)
        _say_orientation(scan, ranked)
        return Findings(None, ranked[0].orientation)
    found = _probes(scan, patterns, ids, WITHOUT_PROBE if searches else WITHOUT_PROBE[:1])
    best = min(found, key=lambda word: found[word].error)
    if searches:
        by_error = sorted(found, key=lambda word: found[word].error)
        _say_orientation(scan, [Ranked(word, found[word].error) for word in by_error])
    _say_probe(scan, found[best])
    unclear_error = None if found[best].is_likely or searches else found[best].error
    return Findings(found[best].probe.numpy(), best, unclear_error)


def _probes(
    scan: RawData, patterns: Patterns, ids: NDArray[np.int64], words: Sequence[str]
) -> dict[str, FoundProbe]:
    """The probe that is found with the positions in each of these orientations."""
    near = _set_defocus(scan)
    return {
        word: search_probe(patterns, torch.from_numpy(oriented(scan.positions_px, word)), ids, near)
        for word in words
    }


def _near_optics(scan: RawData, patterns: Patterns, ids: NDArray[np.int64], searches: bool) -> Findings:
    """The defocus of a probe whose optics are set, and if it `searches` the orientation of the positions.

    The probe as it is set, in any orientation, beats another defocus that explains the patterns hardly better.
    """
    positions, probe = torch.from_numpy(scan.positions_px), torch.from_numpy(scan.probe)
    as_set = [Ranked("identity", math.inf)]
    if searches:
        as_set = rank_orientations(Trials(patterns, positions, ids), probe, ORIENTATIONS, N_SET)
    words = WITHOUT_PROBE if searches else WITHOUT_PROBE[:1]
    found = {
        word: search_near(
            patterns, torch.from_numpy(oriented(scan.positions_px, word)), ids, probe, _set_defocus(scan)
        )
        for word in words
    }
    by_error = [Ranked(word, found[word].error) for word in sorted(found, key=lambda word: found[word].error)]
    best, is_theirs = by_error[0].orientation, _say_cone(scan, patterns, ids)
    is_kept = not found[best].defocus or found[best].error >= CLEARLY * as_set[0].error
    if searches:
        _say_orientation(scan, as_set if is_kept else by_error, by_optics=is_kept)
    if is_kept:
        return Findings(None, as_set[0].orientation)
    _say_defocus(scan, found[best], is_theirs=is_theirs)
    return Findings(found[best].probe.numpy(), best)


def _of_optics(scan: RawData) -> bool:
    """Whether the probe is that of optics, whose defocus may be searched."""
    told = scan.reading
    return told.probe in ("auto", "estimate") and bool(told.convergence or told.aperture)


def _set_defocus(scan: RawData) -> float:
    """The defocus that is set, rad px^2; 0 where none is."""
    defocus_m = quantity(scan.reading.defocus, LENGTHS) if scan.reading.defocus else None
    pixel_m, length_m = _pixel_m(scan), scan.metadata.get("wavelength_m")
    if not defocus_m or pixel_m is None or not isinstance(length_m, float):
        return 0.0
    return in_rad_px2(defocus_m, length_m, pixel_m)


def completed(scan: RawData, findings: Findings) -> RawData:
    """A scan with what was found of it."""
    if findings.probe is None and findings.orientation == "identity":
        return scan
    probe, positions, known = scan.probe, scan.positions_px, scan.object_guess
    if findings.orientation != "identity":
        positions = oriented(positions, findings.orientation)
        positions = positions - positions.min(axis=0) + scan.patterns.shape[-1] // 2
        known = None  # it lies as the positions of the file do
    if findings.probe is not None:
        power = float(np.sum(np.abs(scan.probe.astype(np.complex128)) ** 2))
        probe = photon_scale(findings.probe, {}, positions, power, str(scan.path)).probe
    return dataclasses.replace(scan, probe=probe, positions_px=positions, object_guess=known)


def of_orientation(
    scan: RawData, ids: NDArray[np.int64], unclear_error: float | None = None
) -> Verdict | None:
    """Whether another orientation of the positions explains the patterns clearly better; None where none does.

    Args:
        scan: completed.
        ids: patterns that may be used, increasing.
        unclear_error: see `Findings`; a probe that is unclear fits no orientation, so each has a search of its own.
    """
    if len(ids) < FEWEST or scan.reading.orientation == "auto":
        return None
    patterns = Patterns(scan.patterns, scan.domain, scan.bad_pixels)
    if unclear_error is None:
        trials = Trials(patterns, torch.from_numpy(scan.positions_px), ids, N_CENTRAL)
        ranked = rank_orientations(trials, torch.from_numpy(scan.probe), ORIENTATIONS, N_ITERATIONS)
    else:
        others = _probes(scan, patterns, ids, WITHOUT_PROBE[1:])
        ranked = [Ranked("identity", unclear_error), *(Ranked(word, others[word].error) for word in others)]
        ranked.sort(key=lambda one: one.error)
    mine = next(one for one in ranked if one.orientation == "identity")
    best, now = ranked[0], scan.reading.orientation
    word = best.orientation
    half_a_turn = _on_top("rotate-180", word)
    if not scan.has_probe and _on_top(half_a_turn, now) == "identity":
        word = half_a_turn  # a probe that was found distinguishes the two as little as a free one
    if best.error >= CLEARLY * mine.error:
        return None
    # what a turned scan and such a probe explain are the same patterns
    twin = (
        ", and the sign of the probe's defocus"
        if _on_top(word, now) == "rotate-180" and scan.has_probe
        else ""
    )
    told = _on_top(word, now)
    return Verdict(
        "orientation", "warning", best.error / mine.error, "of the error",
        f"with the positions turned or mirrored by {word} the patterns are explained clearly better (error "
        f"{best.error:.3g} in place of {mine.error:.3g})",
        f"Check the axes and the signs of the positions{twin}, or set orientation to {told}.",
        {"orientation": told},
    )  # fmt: skip


def compare_orientations(scan: RawData) -> Compared:
    """Whether another orientation than the file's explains the patterns clearly better; of some of a scan as well.

    Only with a probe that is known: the search for one takes longer than a look at a scan should.
    """
    if not scan.has_probe or _of_optics(scan):
        return "not compared, as the probe is to be found first; train and reconstruct do both", None
    whole = scan.all_positions_px
    ids = central_rows(scan.positions_px if whole is None else whole)
    ids = ids if whole is None else np.flatnonzero(np.isin(scan.rows, ids))
    if len(ids) < FEWEST:
        return f"not compared, as fewer than {FEWEST} neighbouring patterns were read", None
    if scan.reading.orientation == "auto":
        scan = dataclasses.replace(scan, reading=scan.reading.replace(orientation="identity"))
    found = of_orientation(scan, ids)
    word = scan.reading.orientation
    if found is None:
        return f"{word}: none of the other seven explains the patterns clearly better", None
    return f"{word}: another one explains the patterns clearly better", found


def with_verdict(scan: RawData, verdict: Verdict, *, says: bool = True) -> RawData:
    """A scan with one more verdict, which is logged as a warning if this process `says` it."""
    if says:
        logger.warning("%s: %s", printable(str(scan.path or "scan")), verdict.text)
    return dataclasses.replace(scan, verdicts=(*scan.verdicts, verdict))


def _on_top(found: str, of_reading: str) -> str:
    """The orientation that does what two do one after the other."""
    both = np.array(ORIENTATIONS[found]) @ np.array(ORIENTATIONS[of_reading])
    return next(word for word, matrix in ORIENTATIONS.items() if (np.array(matrix) == both).all())


def _say_orientation(scan: RawData, ranked: list[Ranked], *, by_optics: bool = False) -> None:
    """Log which orientation is used; as a warning where it is not clear, or hangs on the defocus that is set."""
    first, second = ranked[0], ranked[1]
    is_clear = first.error < CLEARLY * second.error
    doubt = "" if is_clear else ", but not clearly: check the picture"
    hangs = by_optics and first.orientation != "identity"
    if hangs:
        twin = _on_top("rotate-180", first.orientation)
        doubt += (
            f". Only the sign of the defocus tells it from {twin}, whose picture is turned by half a turn: if that "
            f"sign is wrong, correct defocus, or set orientation to {twin}"
        )
    level = logging.INFO if is_clear and not hangs else logging.WARNING
    logger.log(
        level,
        "%s: orientation %s explains the patterns best (error %.3g, next %s with %.3g)%s.",
        printable(str(scan.path or "scan")),
        first.orientation,
        first.error,
        second.orientation,
        second.error,
        doubt,
    )


def _say_probe(scan: RawData, found: FoundProbe) -> None:
    """Log where a probe comes from; as a warning where the search was not clear."""
    doubt = (
        ""
        if found.is_clear
        else f", hardly better than others (median {found.median:.3g}). {_tried(scan, found)} Set convergence or "
        "aperture, and defocus, where the optics are known"
    )
    pixel = _pixel_m(scan)
    hole = "" if found.hole_px is None else f"the image of a hole {found.hole_px:.3g} px wide"
    hole += f" ({found.hole_px * pixel:.3g} m), " if found.hole_px and pixel else ", " if hole else ""
    logger.log(
        logging.INFO if found.is_clear else logging.WARNING,
        "%s: no probe in the file; estimated from the patterns: %swith a defocus of %.4g rad px^2%s (error %.3g of "
        "%s)%s.",
        printable(str(scan.path or "scan")),
        hole,
        found.defocus,
        _in_metres(scan, found.defocus, pixel),
        found.error,
        "patterns that were not fitted" if len(scan.patterns) > 1 else "the pattern that was fitted",
        doubt,
    )


def _tried(scan: RawData, found: FoundProbe) -> str:
    """What a search for a probe looks for, in words."""
    size = scan.patterns.shape[-1]
    near = _set_defocus(scan)
    around = f" around {near:.4g}, 0 and {-near:.4g}" if near else ""
    return (
        f"A lens with a defocus of +-{found.reach:.4g} rad px^2{around} and the images of holes of "
        f"{HOLES[0] * size:.2g} to {HOLES[1] * size:.2g} px were tried; astigmatism, vortices and structured probes "
        "are not looked for."
    )


def _say_defocus(scan: RawData, found: FoundProbe, *, is_theirs: bool) -> None:
    """Warn of a defocus that a search around the optics that are set has found, whose cone is that of the patterns."""
    told = _set_defocus(scan)
    words = (
        "%s: the patterns are explained clearly better by a defocus of %.4g rad px^2%s than by the one of the optics, "
        "%.4g rad px^2, and it is used. Correct defocus (its sign too), convergence or aperture, or the positions "
        "where they are turned by rotate-180; or set probe to optics to keep what is set."
        if is_theirs
        else "%s: with that cone a defocus of %.4g rad px^2%s, which is used, fits less badly than the one of the "
        "optics, %.4g rad px^2. It tells nothing before the cone is right."
    )
    better = told + found.defocus
    where = _in_metres(scan, better, _pixel_m(scan))
    logger.warning(words, printable(str(scan.path or "scan")), better, where, told)


def _say_cone(scan: RawData, patterns: Patterns, ids: NDArray[np.int64]) -> bool:
    """Whether the cone of the optics is the one that the patterns show; a warning where it is not."""
    if not scan.reading.convergence:
        return True
    cone = pupil_radius(torch.from_numpy(far_field_light(scan.probe)))
    shown = pupil_radius(mean_pattern(patterns, ids))
    is_theirs = CONE[0] * shown <= cone <= CONE[1] * shown
    if not is_theirs:
        logger.warning(
            "%s: convergence: nine tenths of the light lie within %.3g of the patterns' side from their middle; the "
            "optics that are set give %.3g. Correct convergence (half the angle of the cone), the energy or its "
            "particle, or take a background off the patterns.",
            printable(str(scan.path or "scan")),
            shown,
            cone,
        )
    return is_theirs


def _pixel_m(scan: RawData) -> float | None:
    """The side of a pixel of the object, the mean of both, where it is known."""
    pixels = scan.metadata.get("object_pixel_size_m")
    return math.sqrt(pixels[0] * pixels[1]) if isinstance(pixels, list) and len(pixels) == 2 else None


def _in_metres(scan: RawData, defocus: float, pixel_m: float | None) -> str:
    """A defocus as a distance, where the wavelength and the pixel of the object are known."""
    length = scan.metadata.get("wavelength_m")
    if not isinstance(length, float) or pixel_m is None:
        return ""
    return f", {0.0 - defocus * pixel_m**2 / (math.pi * length):.3g} m"

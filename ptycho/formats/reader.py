"""Reading a scan of any layout into the arrays and units of the data contract."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from ptycho.config.data import DataConfig
from ptycho.formats.background import of_counts_below
from ptycho.formats.detector_masks import bad_of, of_masks
from ptycho.formats.frames import load
from ptycho.formats.geometry import detector_pixel, distance, of_lengths, wavelength
from ptycho.formats.lengths import particle_of
from ptycho.formats.light import of_window
from ptycho.formats.plan import Plan, images_of, object_in, planned, raise_problems
from ptycho.formats.positions import UNITS, of_reading
from ptycho.formats.probes import probe_in
from ptycho.formats.sources import Sources, opened
from ptycho.formats.windows import window_of
from ptycho.geometry import PLANCK_TIMES_LIGHT_J_M
from ptycho.npz_files import ScanFile
from ptycho.pixel_verdicts import of_mask
from ptycho.scan_masks import joined
from ptycho.stored_array import Array, Stack
from ptycho.verdict import Verdict

LOOKED_AT: Final = 16
"""Images that tell whether a mask is inverted."""


def read_foreign(
    path: Path,
    settings: DataConfig,
    domain: str = "auto",
    expected: str = "auto",
    *,
    some: bool = False,
    lengths: Mapping[str, str] | None = None,
) -> ScanFile:
    """A scan in a file of any layout; see `DataConfig`.

    Args:
        path: the file.
        settings: of [data].
        domain: 'amplitude' or 'intensity' where it is set; 'auto' leaves it to the file.
        expected: the same where files of its format hold either; 'auto' leaves it to the values.
        some: whether some of the patterns are enough.
        lengths: settings that its metadata state, beside those.

    Raises:
        FileNotFoundError: no such file.
        DataError: everything that is wrong with the file, together.
    """
    with opened(path, settings, lengths) as sources:
        stated = domain if domain != "auto" else sources.layout.domain or expected
        plan = planned(sources, stated, some=some)
        arrays: dict[str, Stack] = {}
        probe = sources.attempt(lambda: probe_in(sources, plan))
        _stated(sources, plan, arrays)
        raise_problems(sources)
        if plan is None or plan.positions is None:
            raise AssertionError("an array is missing, but no problem was found")
        verdicts = [*_of_mask(sources, plan)]
        verdicts = verdicts or [*of_window(sources, plan.tree, plan.images, plan.reading.window)]
        verdicts += (*of_masks(sources, plan.images), *_of_turn(sources), *of_reading(sources))
        window = plan.reading.window
        side = window.n_pixels * window.bin
        verdicts += of_lengths(sources, side, (side / window.shape[0], side / window.shape[1]))
        verdicts += () if plan.marks is None else plan.marks.verdicts
        verdicts += _of_background(plan)
        patterns, marks = load(plan.tree.path, plan.images, plan.reading)
        arrays["diff3d"] = patterns
        bad = plan.bad if marks is None else joined(_like(plan.bad, marks), marks)
        if bad is not None:
            arrays["bad_pixels"] = bad
        if probe is not None:
            arrays["probeGuess"] = probe
        offset = _offset(sources, plan)
        arrays["ycoords"], arrays["xcoords"] = (plan.positions + offset).T
        return ScanFile(arrays, _names(sources, plan), plan.rows, tuple(verdicts), plan.images.stored.dtype)


def _of_mask(sources: Sources, plan: Plan) -> Iterator[Verdict]:
    """Whether a mask leaves out the measured pixels, by some images as they are in the file."""
    box, silent = plan.reading.window.box, plan.reading.bad
    which = np.unique(np.linspace(0, len(plan.images) - 1, LOOKED_AT).astype(np.int64))
    stated = bad_of(sources, plan.images, which)
    if stated is None:
        return
    images, bad = plan.images.read(which, box).astype(np.float64), stated[..., *box]
    known = bad if silent is None else bad | silent[box]
    yield from of_mask(np.where(known, 0, images).mean(axis=0), np.where(bad, images, 0), bad)


def _of_background(plan: Plan) -> Iterator[Verdict]:
    """Whether a background was taken off, and the flags of the detector that stand beside its values."""
    found = plan.background
    if found is not None:
        flagged = None if found.flagged is None else found.flagged[plan.reading.window.box]
        yield from of_counts_below(found, flagged, str(plan.images.stored.dtype))


def _of_turn(sources: Sources) -> Iterator[Verdict]:
    """Whether the file says that detector and scan are turned against each other, and no orientation is set."""
    exchanged, turned = sources.layout.turned
    flip, angle = sources.value(exchanged), sources.numbers(turned, positive=False)
    angle = angle[0] if angle else 0.0
    number = sources.attempt(lambda: sources.value(sources.layout.orientation))
    if sources.settings.orientation != "identity" or not (flip or angle or number):
        return
    if number:
        text = f"the file states orientation {number!s:.20}, which is not applied"
        yield Verdict("turned", "warning", None, "", text, "Set orientation to auto, or to what undoes it.")
        return
    seen = "exchanged" if flip else "turned"
    advice = "auto, or to what undoes it" if angle else "transpose, if the picture is wrong, or to auto"
    yield Verdict(
        "turned", "warning", angle, "",
        f"the detector's axes are {seen} against those of the scan (QR_flip {bool(flip)}, QR_rotation {angle:g}), "
        "which is not applied",
        f"Set orientation to {advice}.",
    )  # fmt: skip


def read_size(path: Path, settings: DataConfig) -> int:
    """Side of the patterns of a scan as they are used; only headers are read, unless the beam is searched.

    Raises:
        FileNotFoundError, DataError: as `read_foreign`, as far as it is looked at.
    """
    with opened(path, settings) as sources:
        found = sources.attempt(lambda: images_of(sources))
        window = None if found is None else sources.attempt(lambda: window_of(sources, *found))
        raise_problems(sources)
        if window is None:
            raise AssertionError("a size is missing, but no problem was found")
        return window.n_pixels


def read_photons(path: Path, settings: DataConfig) -> dict[str, Stack]:
    """The photon number that a scan states, where it does."""
    with opened(path, settings) as sources:
        return _photons(sources)


def _photons(sources: Sources) -> dict[str, Stack]:
    found = sources.numbers(sources.layout.photons, positive=False)
    if found is not None and found[0] < 0:
        name = sources.layout.photons[0].replace("@", " attribute ")
        sources.refuse(name, "a number of photons >= 0", f"{found[0]:g}", "Correct it in the file.")
    return {"nphotons": np.array(found[0])} if found is not None and found[0] else {}


def _stated(sources: Sources, plan: Plan | None, arrays: dict[str, Stack]) -> None:
    """Add what a file states of itself: photons, the object, metadata."""
    arrays |= sources.attempt(lambda: _photons(sources)) or {}
    known = sources.attempt(lambda: object_in(sources))
    if known is not None and plan is not None and not _is_changed(sources):
        layers = known.values
        arrays["objectGuess"] = layers[0] if layers.ndim == 3 and len(layers) else layers
    stated: dict[str, Any] = {"format": sources.format}
    if sources.layout.domain:
        key = "measurement_domain" if sources.format == "ptychodus" else "usual_domain"
        stated[key] = sources.layout.domain
    far = sources.attempt(lambda: sources.value(sources.layout.far_field))
    if far is not None:
        stated["far_field"] = bool(far)
    length = sources.attempt(lambda: wavelength(sources))
    if length:
        stated["wavelength_m"] = length
        if particle_of(sources) == "photon":
            stated["energy_J"] = PLANCK_TIMES_LIGHT_J_M / length
    far_m = sources.attempt(lambda: distance(sources))
    if far_m:
        stated["distance_m"] = far_m
    detector = sources.attempt(lambda: detector_pixel(sources))
    if detector:
        stated["detector_pixel_size_m"] = [side * sources.settings.bin for side in detector]
    if plan is not None and plan.pixel_m is not None:
        stated["object_pixel_size_m"] = list(plan.pixel_m)
    arrays["metadata"] = np.array(json.dumps(stated))


def _is_changed(sources: Sources) -> bool:
    """Whether the object's pixel is another than the file has it."""
    settings = sources.settings
    return bool(settings.crop or settings.pad or settings.bin > 1 or settings.object_pixel)


def _offset(sources: Sources, plan: Plan) -> Array:
    """What brings positions into the object: as the file has it, or so that the first patches begin at its edge."""
    known = object_in(sources)
    places = sources.layout.object_centre
    if known is not None and places is not None and plan.pixel_m is not None and not _is_changed(sources):
        centre = [sources.numbers(one, positive=False) or (0.0, 0.0) for one in places]
        shape = known.values.shape[-2:]
        return np.array([(n - 1) / 2 - c[0] / m for n, c, m in zip(shape, centre, plan.pixel_m, strict=True)])
    return plan.reading.window.n_pixels // 2 - cast(Array, plan.positions).min(axis=0)


def _like(bad: Array | None, marks: Array) -> Array | None:
    """Bad pixels with as many axes as marks of single patterns."""
    if bad is None or bad.ndim >= marks.ndim:
        return bad
    return np.broadcast_to(bad, marks.shape)


def _names(sources: Sources, plan: Plan) -> dict[str, str]:
    """What the file calls the arrays."""
    settings, layout = sources.settings, sources.layout
    found = {"diff3d": sources.called(plan.tree, plan.images.stored.name)}
    for key, setting, places in (
        ("probeGuess", "probe", layout.probe),
        ("bad_pixels", "mask", layout.mask),
        ("objectGuess", "", layout.object_),
        (
            "xcoords",
            "positions_x"
            if not settings.positions and (settings.positions_x or layout.positions_x)
            else "positions",
            layout.positions_x or layout.positions,
        ),
        (
            "ycoords",
            "positions_y"
            if not settings.positions and (settings.positions_y or layout.positions_y)
            else "positions",
            layout.positions_y or layout.positions,
        ),
    ):
        place = sources.place(setting, places)
        if place is not None:
            found[key] = sources.called(*place)
            unit = sources.unit(*place) if "coords" in key and settings.positions_unit is None else ""
            found[key] += f" (unit {unit!r})" if unit and unit not in UNITS else ""
    return found

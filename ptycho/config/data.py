"""[data]: how a scan is read from a file that another program wrote; the text under a field is its help text.

A file in the data contract needs none of these settings, and the formats that have a name know where their arrays are.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import AllowInfNan, Strict

from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.field_types import OptionalFile, path
from ptycho.config.fields import NONE_WORDS, Exact, PositiveFloat, PositiveInt, Rule, TextLine
from ptycho.config.quantities import ANGLES, ENERGIES, LENGTHS, pair_of_numbers, quantities, quantity

LARGEST_SIDE = 65536
"""Pixels; no detector has more along one side."""


def _above_zero(units: dict[str, float]) -> Callable[[str], bool]:
    def holds(value: str) -> bool:
        found = quantities(value, units)
        return found is not None and min(found) > 0

    return holds


def _is_axes(value: str) -> bool:
    return sorted(value) in (sorted("nHW"), sorted("yxHW"))


def _is_centre(value: str) -> bool:
    found = pair_of_numbers(value)
    return value in ("none", "auto", "corner") or (found is not None and min(found) >= 0)


def _is_defocus(value: str) -> bool:
    return quantity(value, LENGTHS) is not None


def _is_semi_angle(value: str) -> bool:
    found = quantity(value, ANGLES)
    return found is not None and 0 < found < math.pi / 2


_EVEN = Rule("an even number of pixels from 2 up", lambda value: value % 2 == 0)
EvenSize = Annotated[int, Strict(), Ge(2), Le(LARGEST_SIDE), _EVEN, Exact()]
Place = Annotated[
    TextLine,
    Rule(
        "a line of text that is not empty",
        lambda value: value.lower() not in NONE_WORDS,
        "Set None itself: in files the word stands for it.",
    ),
]
_WRITTEN = "Write a number with a decimal point, and its unit: {}."
_OF_LENGTH = _WRITTEN.format(", ".join(LENGTHS))
_OF_ENERGY = _WRITTEN.format(", ".join(ENERGIES))
Energy = Annotated[TextLine, Rule("an energy > 0, as in '8 keV'", _above_zero(ENERGIES), _OF_ENERGY)]
Length = Annotated[TextLine, Rule("a length > 0, as in '1.2 m'", _above_zero(LENGTHS), _OF_LENGTH)]
Angle = Annotated[TextLine, Rule("an angle above 0 and below 90 degrees, as in '21.4 mrad'", _is_semi_angle)]
Pitch = Annotated[
    TextLine,
    Rule(
        "a length > 0, or one for rows and one for columns, as in '75 um' or '75 um, 50 um'",
        _above_zero(LENGTHS),
        _OF_LENGTH,
    ),
]
Step = Annotated[
    TextLine,
    Rule(
        "a step > 0 in pixels or as a length, or one along each axis, as in '4 px' or '30 nm, 40 nm'",
        _above_zero({**LENGTHS, "px": 1.0}),
    ),
]
Axes = Annotated[TextLine, Rule("the letters n, H, W or y, x, H, W, each once, as in nHW", _is_axes)]
Centre = Annotated[
    TextLine, Rule("none, auto, corner, or a row and a column, as in '256.5, 243'", _is_centre)
]
Defocus = Annotated[TextLine, Rule("a length of either sign, as in '-1.5 um'", _is_defocus)]


class DataConfig(CheckedDataclass, table="data"):
    """How a scan is read: where its arrays are, in which units, and which part of the detector is used."""

    format: Annotated[
        Literal["auto", "npz", "cxi", "ptychodus", "ptypy", "ptylab", "emd", "hdf5"], Exact()
    ] = "auto"
    """Layout of the file; auto: found from its content. hdf5 and npz: as the settings below describe."""

    patterns: Place | None = None
    """Where the diffraction patterns are: a path in an HDF5 file or a key of an NPZ file, if necessary with an index,
    as in /entry/data[0]."""

    axes: Axes | None = None
    """Order of the axes of the patterns: n patterns, or scan rows y and columns x; detector rows H and columns W.
    none: nHW, and yxHW of four axes."""

    positions: Place | None = None
    """Where the scan positions are: one array with both coordinates, or a group with x and y; given like patterns."""

    positions_axes: Annotated[Literal["yx", "xy"], Exact()] | None = None
    """Which coordinate comes first in positions; none: as in the format, else yx."""

    positions_x: Place | None = None
    """Where the x coordinates (columns) of the positions are; given like patterns."""

    positions_y: Place | None = None
    """Where the y coordinates (rows) of the positions are; given like patterns."""

    positions_unit: Annotated[Literal["m", "cm", "mm", "um", "nm", "A", "pm", "px"], Exact()] | None = None
    """Unit of the positions; px are object pixels of the patterns as they are in the file, before crop, bin and pad.
    none: as the file states it (attribute units), or as in the format, else px in NPZ files and m in others."""

    scan_step: Step | None = None
    """Step of a raster scan without a list of positions, along rows and columns."""

    orientation: Annotated[
        Literal[
            "identity",
            "flip-x",
            "flip-y",
            "rotate-180",
            "transpose",
            "rotate-90",
            "rotate-270",
            "anti-transpose",
            "auto",
        ],
        Exact(),
    ] = "identity"
    """How the positions are turned or mirrored before use: flip-x changes the sign of x, transpose swaps x and y,
    rotate-90 gives (y, x) as (x, -y). auto: the one that explains the patterns best."""

    probe: TextLine = "auto"
    """file: as in the file; optics: from convergence or aperture, and defocus, as they are set; estimate: from the
    patterns, with a search for its defocus, which begins at what is set of the optics; auto: as in the file, else
    estimate. Anything else is its place in the file, given like patterns."""

    convergence: Angle | None = None
    """Semi-angle of the cone that a lens focuses: wavelength / (2 x outermost zone width) of a zone plate, the
    convergence angle of a microscope."""

    aperture: Length | None = None
    """Diameter of a pinhole before the sample."""

    defocus: Defocus | None = None
    """Distance from the focus, or from the aperture, to the sample. none: 0. Alone, without convergence and aperture,
    it is where the search for the probe begins."""

    energy: Energy | None = None
    """Energy of a photon or an electron. none: from the file."""

    particle: Annotated[Literal["photon", "electron"], Exact()] | None = None
    """Particles of the beam; none: as in the format, else photons."""

    wavelength: Length | None = None
    """Wavelength, in place of the energy."""

    distance: Length | None = None
    """Distance from the sample to the detector. none: from the file."""

    detector_pixel: Pitch | None = None
    """Size of a pixel of the detector, before binning. none: from the file."""

    object_pixel: Pitch | None = None
    """Size of a pixel of the object; none: wavelength x distance / (side of the patterns x detector pixel)."""

    crop: EvenSize | None = None
    """Side of the square around the centre that is read of each pattern, in detector pixels; none: the whole one."""

    bin: PositiveInt = 1
    """Counts of bin x bin pixels are added up, after cropping."""

    pad: EvenSize | None = None
    """Side to which patterns are padded, after all else, with pixels that are not measured; none: no padding."""

    centre: Centre = "none"
    """Where the zero frequency is, in detector pixels. none: in the middle, at [H//2, W//2]; corner: at [0, 0]; auto:
    found from the mean pattern."""

    mask: Place | None = "auto"
    """Where the detector's mask is in the file, one image for all patterns or one for each; given like patterns.
    auto: where the format has one, or NeXus; none: no mask of the file is used."""

    mask_marks: Annotated[Literal["bad", "good"], Exact()] | None = None
    """Pixels where a mask that is named (mask, mask_file) is not zero: bad or good ones; none: as in the format, else
    bad."""

    mask_file: OptionalFile = path(None)
    """A file with a mask of further bad pixels: .npy, or NPZ or HDF5 with one image in it."""

    dead_value: Annotated[float, Strict(), AllowInfNan(False), Exact()] | None = None
    """Value that the detector writes for pixels without a measurement; these are left out."""

    saturation: PositiveFloat | None = None
    """Value at which the detector saturates; pixels that reach it are left out of the pattern."""

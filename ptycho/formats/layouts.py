"""Where the arrays of a scan are, by format: tables, and how a file is recognized.

Every entry of a table can be stated by the settings of [data] as well. A place is a path in an HDF5 file or a key of
an NPZ file, see `ptycho.formats.trees`; of several the first that is there counts.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from ptycho.data_error import DataError, problem
from ptycho.formats.trees import Entry, Tree

Places = tuple[str, ...]


class Layout(NamedTuple):
    """Where the arrays of a scan are in a file, and in which units."""

    patterns: Places = ()
    axes: str = ""
    positions: Places = ()
    positions_axes: str = "yx"
    positions_y: Places = ()
    positions_x: Places = ()
    positions_unit: str = "m"
    basis: Places = ()
    """Two rows: the directions of the detector's slow and fast axis. Positions are translations of the sample then."""
    indexes: tuple[Places, Places] = ((), ())
    """Which positions and which patterns belong together: those of the same number in these two lists. Without the
    second, patterns are counted from 0."""
    scan_step: tuple[Places, Places] | None = None
    """Coordinates along the scan's rows and columns, with their unit in an attribute."""
    scan_size: tuple[Places, Places] = ((), ())
    """The step of the scan, and its unit, where those coordinates are in pixels."""
    reciprocal: Places = ()
    """Coordinates along the detector's rows, with their unit in an attribute."""
    reciprocal_size: tuple[Places, Places] = ((), ())
    """Their step and its unit, where they are in pixels."""
    turned: tuple[Places, Places] = ((), ())
    """Whether the detector's axes are exchanged against those of the scan, and the angle that they are turned by."""
    orientation: Places = ()
    """A number for how patterns are turned and mirrored, of which programs disagree; a warning names it."""
    probe: Places = ()
    object_: Places = ()
    object_centre: tuple[Places, Places] | None = None
    object_pixel: tuple[Places, Places] | None = None
    mask: Places = ()
    mask_beside: Places = ()
    """Where a mask may be in the group of the patterns, which is looked at before those places."""
    mask_marks: str = "bad"
    mask_may_be_none: bool = False
    """Whether an array of no or one value in the place of a mask means no mask."""
    harmless_bits: int = 0
    """Bits of a mask that say something else than that a pixel is bad."""
    energy: tuple[Places, str] = ((), "J")
    """And its unit, where no attribute states another."""
    wavelength: Places = ()
    """In metres, where no attribute states another unit; as all lengths."""
    distance: Places = ()
    detector_pixel: tuple[Places, Places] = ((), ())
    """Of rows and columns."""
    photons: Places = ()
    far_field: Places = ()
    """Whether the data are of the far field."""
    domain: str = ""
    """What the patterns of such files are, which ptychodus itself sees to; empty: one or the other."""
    particle: str = "photon"
    beside: tuple[Places, ...] = ()
    """Names of files in the same folder that hold the rest: of each group one, the first that is there."""


_CXI_SOURCE: Final = "entry_1/instrument_1/source_1"
_CXI_DETECTOR: Final = "entry_1/instrument_1/detector_1"


def _nexus(*names: str) -> Places:
    return tuple(f"{entry}/{name}" for entry in ("entry", "entry1", "entry_1") for name in names)


_TAGS: Final = 0xFFFF0000
"""Bits of a mask of NeXus that mark a special pixel, as one that is interpolated; none of them marks a bad one."""


LAYOUTS: Final[Mapping[str, Layout]] = {
    "hdf5": Layout(
        energy=(_nexus("instrument/beam/incident_energy", "instrument/monochromator/energy"), "J"),
        wavelength=_nexus(
            "instrument/beam/incident_wavelength",
            "sample/beam/incident_wavelength",
            "instrument/monochromator/wavelength",
        ),
        distance=_nexus("instrument/detector/distance", "instrument/detector/detector_distance"),
        detector_pixel=(
            _nexus("instrument/detector/y_pixel_size"),
            _nexus("instrument/detector/x_pixel_size"),
        ),
        mask=_nexus(
            "instrument/detector/pixel_mask",
            "instrument/detector/detectorSpecific/pixel_mask",
            "data/pixel_mask",
        ),
        mask_beside=("pixel_mask", "detectorSpecific/pixel_mask"),
        harmless_bits=_TAGS,
    ),
    "npz": Layout(
        patterns=("diff3d", "diffraction"),
        positions_y=("ycoords",),
        positions_x=("xcoords",),
        positions_unit="px",
        probe=("probeGuess",),
        mask=("bad_pixels",),
    ),
    "cxi": Layout(
        patterns=("entry_1/data_1/data", f"{_CXI_DETECTOR}/data"),
        positions=(
            "entry_1/sample_1/geometry_1/translation",
            "entry_1/data_1/translation",
            f"{_CXI_DETECTOR}/translation",
        ),
        positions_axes="xy",
        basis=(f"{_CXI_DETECTOR}/basis_vectors",),
        indexes=(("entry_1/ptychodus/probe_position_indexes",), ()),
        probe=(f"{_CXI_SOURCE}/illumination", f"{_CXI_SOURCE}/probe"),
        mask=(f"{_CXI_DETECTOR}/mask", "entry_1/data_1/mask"),
        harmless_bits=0x1000,  # CXI_PIXEL_HAS_SIGNAL
        energy=((f"{_CXI_SOURCE}/energy",), "J"),
        wavelength=(f"{_CXI_SOURCE}/wavelength",),
        distance=(f"{_CXI_DETECTOR}/distance", f"{_CXI_DETECTOR}/corner_position[2]"),
        detector_pixel=((f"{_CXI_DETECTOR}/y_pixel_size",), (f"{_CXI_DETECTOR}/x_pixel_size",)),
        domain="intensity",
        beside=(("diffraction.cxi",), ("product.cxi",)),
    ),
    "ptychodus": Layout(
        patterns=("patterns",),
        positions_y=("probe_position_y_m",),
        positions_x=("probe_position_x_m",),
        indexes=(("probe_position_indexes",), ("indexes",)),
        probe=("probe",),
        object_=("object",),
        object_centre=(
            ("object@center_y_m", "object_center_y_m"),
            ("object@center_x_m", "object_center_x_m"),
        ),
        object_pixel=(
            ("object@pixel_height_m", "object_pixel_height_m"),
            ("object@pixel_width_m", "object_pixel_width_m"),
        ),
        mask=("bad_pixels",),
        energy=(("/@photon_energy_eV", "/@probe_energy_eV", "photon_energy_eV", "probe_energy_eV"), "eV"),
        distance=("/@detector_object_distance_m", "detector_object_distance_m"),
        detector_pixel=(("patterns@detector_pixel_height_m",), ("patterns@detector_pixel_width_m",)),
        photons=("/@probe_photon_count", "probe_photon_count"),
        far_field=("/@far_field", "far_field"),
        domain="intensity",
        beside=(
            ("diffraction.h5", "diffraction.npz"),
            ("product.h5", "product-out.h5", "product-in.h5", "product.npz"),
        ),
    ),
    "ptypy": Layout(
        patterns=("chunks/*/data",),
        positions=("chunks/*/positions",),
        mask=("chunks/*/weights", "meta/weight2d", "common/weight2d"),
        mask_marks="good",
        mask_may_be_none=True,
        energy=(("meta/energy", "info/energy"), "keV"),
        distance=("meta/distance", "info/distance"),
        detector_pixel=(("meta/psize", "info/psize"), ("meta/psize", "info/psize")),
        domain="intensity",
    ),
    "ptylab": Layout(
        patterns=("ptychogram",),
        positions=("encoder",),
        orientation=("orientation", "/@orientation"),
        wavelength=("wavelength",),
        distance=("zo",),
        detector_pixel=(("dxd",), ("dxd",)),
        domain="intensity",
    ),
    "emd": Layout(axes="yxHW", domain="intensity", particle="electron"),
}
"""Format -> its table; that of EMD is completed by the group that holds the array of four axes."""

_ANY_OF: Final[Mapping[str, Places]] = {
    "ptychodus": ("probe_position_x_m", "probe_position_y_m", "probe_position_indexes"),
    "cxi": ("cxi_version", *(f"entry_1/{name}_1" for name in ("instrument", "data", "image", "sample"))),
    "ptypy": ("chunks",),
    "ptylab": ("ptychogram",),
}
"""Format -> names of which any tells that a file has it; in the order in which they are looked for."""
_DIFFRACTION: Final = ("patterns", "indexes")
"""Names that the other file of ptychodus has, both of them."""
_NO_SCANS: Final = (
    (
        ("content", "header"),
        "a reconstruction of ptypy, without patterns",
        "Name the .ptyd file of its data.",
    ),
    (
        ("ptychogram", "zled"),
        "Fourier ptychography (ptychogram, zled), in which the light source moves",
        "Reconstruct it with PtyLab.",
    ),
)
"""Names that a file has, all of them; what it is then, and what to do."""


_CUBES: Final = ("data", "datacube")
"""Names of the array in a group of EMD."""


def recognized(tree: Tree) -> str:
    """The format of a file, by what it holds; `hdf5` or `npz` for one that is none of those that have a name."""
    if all(map(tree.has, _DIFFRACTION)):
        return "ptychodus"
    if not tree.is_hdf5:
        return "ptychodus" if any(map(tree.has, _ANY_OF["ptychodus"])) else "npz"
    named = next((name for name, signs in _ANY_OF.items() if any(map(tree.has, signs))), None)
    return named or ("emd" if cube_in(tree.entries(), tree) else "hdf5")


def refuse_no_scan(tree: Tree) -> None:
    """Refuse a file that is known to hold something else than a scan.

    Raises:
        DataError: it does.
    """
    for names, found, advice in _NO_SCANS:
        if tree.is_hdf5 and all(map(tree.has, names)):
            raise DataError(problem("scan file", "patterns of a scan", found, tree.path, advice))


def cube_in(entries: list[Entry], tree: Tree) -> str | None:
    """The group of the first array of four axes, with a name that cubes have, that stands in a group of EMD."""
    for entry in entries:
        folder, _, name = entry.name.rpartition("/")
        if (
            name in _CUBES
            and len(entry.shape) == 4
            and tree.value(f"{folder or '/'}@emd_group_type") is not None
        ):
            return folder
    return None


def layout_of(name: str, tree: Tree) -> Layout:
    """The table of a format, for a file."""
    layout = LAYOUTS[name]
    cube = cube_in(tree.entries(), tree) if name == "emd" else None
    return layout if cube is None else _within(layout, cube, first_is_dim1=not tree.has(f"{cube}/dim0"))


def _within(layout: Layout, cube: str, *, first_is_dim1: bool) -> Layout:
    """A table of EMD for the cube in a group; older files count dimensions from 1."""
    first, root = 1 if first_is_dim1 else 0, cube.strip("/").partition("/")[0]
    groups = (f"{root}/metadatabundle", cube, f"{cube}/_metadata", root)

    def calibration(*names: str) -> Places:
        return tuple(f"{group}/calibration/{name}" for group in groups for name in names)

    return layout._replace(
        patterns=tuple(f"{cube}/{name}" for name in _CUBES),
        scan_step=((f"{cube}/dim{first}",), (f"{cube}/dim{first + 1}",)),
        scan_size=(calibration("R_pixel_size"), calibration("R_pixel_units")),
        reciprocal=(f"{cube}/dim{first + 2}",),
        reciprocal_size=(calibration("Q_pixel_size"), calibration("Q_pixel_units")),
        turned=(calibration("QR_flip"), calibration("QR_rotation", "QR_rotation_degrees")),
    )

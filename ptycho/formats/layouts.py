"""Where the arrays of a scan are, by format: tables, and how a file is recognized.

Every entry of a table can be stated by the settings of [data] as well. A place is a path in an HDF5 file or a key of
an NPZ file, see `ptycho.formats.trees`; of several the first that is there counts.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

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
    reciprocal: Places = ()
    """Coordinates along the detector's rows, with their unit in an attribute."""
    turned: tuple[Places, Places] = ((), ())
    """Whether the detector's axes are exchanged against those of the scan, and the angle that they are turned by."""
    probe: Places = ()
    object_: Places = ()
    object_centre: tuple[str, str] | None = None
    object_pixel: tuple[str, str] | None = None
    mask: Places = ()
    mask_marks: str = "bad"
    energy: tuple[Places, str] = ((), "J")
    wavelength: Places = ()
    """In metres."""
    distance: Places = ()
    """In metres."""
    detector_pixel: tuple[Places, Places] = ((), ())
    """In metres, of rows and columns."""
    photons: Places = ()
    far_field: Places = ()
    """Whether the data are of the far field."""
    domain: str = ""
    """What the patterns of such files are, which ptychodus itself sees to; empty: one or the other."""
    particle: str = "photon"
    beside: Places = ()
    """Names of files in the same folder that hold the rest."""


_CXI_SOURCE: Final = "entry_1/instrument_1/source_1"
_CXI_DETECTOR: Final = "entry_1/instrument_1/detector_1"

LAYOUTS: Final[Mapping[str, Layout]] = {
    "hdf5": Layout(),
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
        probe=(f"{_CXI_SOURCE}/illumination", f"{_CXI_SOURCE}/probe", "entry_1/image_1/data"),
        mask=(f"{_CXI_DETECTOR}/mask",),
        energy=((f"{_CXI_SOURCE}/energy",), "J"),
        wavelength=(f"{_CXI_SOURCE}/wavelength",),
        distance=(f"{_CXI_DETECTOR}/distance",),
        detector_pixel=((f"{_CXI_DETECTOR}/y_pixel_size",), (f"{_CXI_DETECTOR}/x_pixel_size",)),
        domain="intensity",
        beside=("diffraction.cxi", "product.cxi"),
    ),
    "ptychodus": Layout(
        patterns=("patterns",),
        positions_y=("probe_position_y_m",),
        positions_x=("probe_position_x_m",),
        indexes=(("probe_position_indexes",), ("indexes",)),
        probe=("probe",),
        object_=("object",),
        object_centre=("object@center_y_m", "object@center_x_m"),
        object_pixel=("object@pixel_height_m", "object@pixel_width_m"),
        mask=("bad_pixels",),
        energy=(("/@photon_energy_eV",), "eV"),
        distance=("/@detector_object_distance_m",),
        photons=("/@probe_photon_count",),
        far_field=("/@far_field",),
        domain="intensity",
        beside=("diffraction.h5", "product.h5"),
    ),
    "ptypy": Layout(
        patterns=("chunks/*/data",),
        positions=("chunks/*/positions",),
        mask=("chunks/*/weights",),
        mask_marks="good",
        energy=(("meta/energy", "info/energy"), "keV"),
        distance=("meta/distance", "info/distance"),
        detector_pixel=(("meta/psize", "info/psize"), ("meta/psize", "info/psize")),
        domain="intensity",
    ),
    "ptylab": Layout(
        patterns=("ptychogram",),
        positions=("encoder",),
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
    "cxi": ("cxi_version", "entry_1"),
    "ptypy": ("chunks",),
    "ptylab": ("ptychogram",),
}
"""Format -> names of which any tells that a file has it; in the order in which they are looked for."""
_DIFFRACTION: Final = ("patterns", "indexes")
"""Names that the other file of ptychodus has, both of them."""


def recognized(tree: Tree) -> str:
    """The format of a file, by what it holds; `hdf5` or `npz` for one that is none of those that have a name."""
    if not tree.is_hdf5:
        return "npz"
    if all(map(tree.has, _DIFFRACTION)):
        return "ptychodus"
    named = next((name for name, signs in _ANY_OF.items() if any(map(tree.has, signs))), None)
    return named or ("emd" if cube_in(tree.entries(), tree) else "hdf5")


def cube_in(entries: list[Entry], tree: Tree) -> str | None:
    """The group of the first array of four axes that is called `data` and stands in a group of EMD."""
    for entry in entries:
        folder, _, name = entry.name.rpartition("/")
        if (
            name == "data"
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
    first = 1 if first_is_dim1 else 0
    calibration = f"{cube.strip('/').partition('/')[0]}/metadatabundle/calibration"
    return layout._replace(
        patterns=(f"{cube}/data",),
        scan_step=((f"{cube}/dim{first}",), (f"{cube}/dim{first + 1}",)),
        reciprocal=(f"{cube}/dim{first + 2}",),
        turned=(
            (f"{calibration}/QR_flip",),
            (f"{calibration}/QR_rotation", f"{calibration}/QR_rotation_degrees"),
        ),
    )

"""HDF5 files that are damaged or hold something else than they must: a DataError with file, path and what is there."""

import os

import h5py
import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.formats.trees import open_tree
from ptycho.raw_data import DataError, load_scans
from ptycho.scan_facts import scan_facts
from tests.core.test_scan_files import write_cxi, write_product

COUNTS = np.random.default_rng(0).poisson(30, (5, 8, 8)).astype(np.uint16)
SOURCE, DETECTOR = "entry_1/instrument_1/source_1", "entry_1/instrument_1/detector_1"

PLACES = [
    *(("product.h5", name) for name in ("probe_position_indexes", "probe_position_x_m", "probe", "object")),
    *(("diffraction.h5", name) for name in ("patterns", "indexes", "bad_pixels")),
    *(("scan.cxi", name) for name in ("entry_1/data_1/data", "entry_1/sample_1/geometry_1/translation")),
    *(("scan.cxi", f"{SOURCE}/{name}") for name in ("energy", "illumination")),
    *(("scan.cxi", f"{DETECTOR}/{name}") for name in ("distance", "x_pixel_size", "mask", "basis_vectors")),
]


def elsewhere(file, name, values):
    """A file in another folder, which holds the true values."""
    other = os.path.join(os.path.dirname(file.filename), "..", "other.h5")
    with h5py.File(other, "w") as target:
        target["values"] = values
    return other


def virtual(file, name, values):
    layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
    layout[...] = h5py.VirtualSource(elsewhere(file, name, values), "values", shape=values.shape)
    file.create_virtual_dataset(name, layout)


def stored_outside(file, name, values):
    raw = os.path.join(os.path.dirname(file.filename), "raw.bin")
    np.asarray(values).tofile(raw)
    file.create_dataset(
        name, values.shape, values.dtype, external=[(raw, 0, h5py.h5f.UNLIMITED)] if values.ndim else None
    )


def in_circles(file, name, values):
    file[name] = h5py.SoftLink("/circle")
    file["circle"] = h5py.SoftLink(f"/{name}")


FAULTS = {
    "dangling link": lambda f, n, v: f.__setitem__(n, h5py.SoftLink("/nowhere")),
    "circle of links": in_circles,
    "link to another file": lambda f, n, v: f.__setitem__(n, h5py.ExternalLink(elsewhere(f, n, v), "values")),
    "link to no file": lambda f, n, v: f.__setitem__(n, h5py.ExternalLink("none.h5", "values")),
    "group": lambda f, n, v: f.create_group(n).__setitem__("inner", v),
    "text": lambda f, n, v: f.__setitem__(n, "not a number"),
    "texts": lambda f, n, v: f.__setitem__(n, np.array([b"a", b"bc"])),
    "lists": lambda f, n, v: f.create_dataset(n, (3,), dtype=h5py.vlen_dtype(np.float64)),
    "record": lambda f, n, v: f.__setitem__(n, np.zeros(3, [("a", "f8"), ("b", "i4")])),
    "empty": lambda f, n, v: f.__setitem__(n, h5py.Empty(v.dtype)),
    "no values": lambda f, n, v: f.create_dataset(n, (10**5, 10**5, 10**4)[: max(1, v.ndim)], v.dtype),
    "nothing at all": lambda f, n, v: f.__setitem__(n, np.zeros((0,) * max(1, v.ndim), v.dtype)),
    "virtual": virtual,
    "other axes": lambda f, n, v: f.__setitem__(n, np.zeros((2,) * (5 if v.ndim else 4), v.dtype)),
    "type": lambda f, n, v: f.__setitem__(n, np.dtype("f8")),
}


def scan_file(folder, name):
    """The file to load and the file to spoil, both sound."""
    if name == "scan.cxi":
        mask, basis = np.zeros((8, 8), np.uint32), np.array([[0, 75e-6, 0], [-60e-6, 0, 0]])
        path = write_cxi(folder / name, COUNTS, mask=mask, basis_vectors=basis)
    else:
        path = write_product(folder, COUNTS)
    return path, folder / name


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_fault_at_any_place_is_named(tmp_path, name, place, fault):
    path, spoiled = scan_file(tmp_path, name)
    with h5py.File(spoiled, "a") as file:
        values = np.asarray(file[place][()])
        del file[place]
        FAULTS[fault](file, place, values)
    with pytest.raises(DataError) as caught:
        load_scans(path)
    message = str(caught.value)
    assert "\n" not in message
    assert spoiled.name in message
    assert str(tmp_path) in message
    assert place.rpartition("/")[2] in message or (name, fault) == ("scan.cxi", "nothing at all")
    if place in ("patterns", "entry_1/data_1/data") and fault != "nothing at all":
        with pytest.raises(DataError):
            scan_facts(path)


@pytest.mark.parametrize("kind", [h5py.SoftLink, h5py.HardLink])
def test_a_link_within_the_file_is_followed(tmp_path, kind):
    path = write_cxi(tmp_path / "scan.cxi", COUNTS)
    with h5py.File(path, "a") as file:
        file.move("entry_1/data_1", "entry_1/kept")
        file["entry_1/data_1"] = h5py.SoftLink("kept") if kind is h5py.SoftLink else file["entry_1/kept"]
    (scan,) = load_scans(path)
    np.testing.assert_array_equal(scan.patterns, COUNTS)


def in_parts(path, *, how):
    """A master file beside three files that hold the patterns, named in one of three ways."""
    with h5py.File(path, "a") as file:
        del file["entry_1/data_1/data"]
        layout = h5py.VirtualLayout((5, 8, 8), COUNTS.dtype)
        for number, rows in enumerate((slice(0, 2), slice(2, 4), slice(4, 5)), start=1):
            name = f"scan_data_{number:06}.h5"
            with h5py.File(path.parent / name, "w") as part:
                part["entry/data/data"] = COUNTS[rows]
            layout[rows] = h5py.VirtualSource(name, "entry/data/data", COUNTS[rows].shape)
            if how != "virtual":
                to = "entry/data" if how == "groups" else "entry/data/data"
                file[f"entry_1/data_1/data_{number:06}"] = h5py.ExternalLink(name, to)
        if how == "virtual":
            file.create_virtual_dataset("entry_1/data_1/data", layout)
    end = "/data" if how == "groups" else ""
    return {} if how == "virtual" else {"patterns": f"/entry_1/data_1/data_*{end}"}


@pytest.mark.parametrize("how", ["virtual", "links", "groups"])
def test_a_master_file_is_read_with_the_files_beside_it(tmp_path, monkeypatch, how):
    path = write_cxi(tmp_path / "scan.cxi", COUNTS)
    settings = in_parts(path, how=how)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    reading = DataConfig(**settings)
    (scan,) = load_scans(path, reading=reading)
    np.testing.assert_array_equal(scan.patterns, COUNTS)
    with open_tree(path) as tree:
        listed = [entry.name for entry in tree.entries() if entry.shape[1:] == (8, 8)]
    assert len(listed) == {"virtual": 1, "links": 3, "groups": 0}[how]
    (tmp_path / "scan_data_000002.h5").rename(tmp_path / "moved.h5")
    with pytest.raises(
        DataError, match=r"'scan_data_000002.h5', which is not there.*Copy that file into the folder"
    ):
        load_scans(path, reading=reading)


@pytest.mark.parametrize("how", ["virtual", "links"])
def test_files_that_name_each_other_are_refused(tmp_path, how):
    path = write_cxi(tmp_path / "scan.cxi", COUNTS)
    with h5py.File(path, "a") as file:
        del file["entry_1/data_1/data"]
        if how == "links":
            file["entry_1/data_1/data"] = h5py.ExternalLink("scan.cxi", "entry_1/data_1/data")
        else:
            layout = h5py.VirtualLayout((5, 8, 8), COUNTS.dtype)
            layout[...] = h5py.VirtualSource(".", "entry_1/data_1/data", COUNTS.shape)
            file.create_virtual_dataset("entry_1/data_1/data", layout)
    with pytest.raises(DataError, match="a circle of files"):
        load_scans(path)


def test_a_link_to_a_file_outside_the_folder_is_refused_unopened(tmp_path):
    (tmp_path / "inside").mkdir()
    path = write_cxi(tmp_path / "inside" / "scan.cxi", COUNTS)
    (tmp_path / "other.h5").write_bytes(path.read_bytes())
    for named in ("../other.h5", str(tmp_path / "other.h5"), "../inside2/other.h5"):
        with h5py.File(path, "a") as file:
            del file["entry_1/data_1"]
            file["entry_1/data_1"] = h5py.ExternalLink(named, "entry_1/data_1")
        with pytest.raises(DataError, match="got a link"):
            load_scans(path)


def test_values_kept_in_another_file_are_refused(tmp_path):
    path = write_cxi(tmp_path / "scan.cxi", COUNTS)
    with h5py.File(path, "a") as file:
        del file["entry_1/data_1/data"]
        stored_outside(file, "entry_1/data_1/data", COUNTS)
    with pytest.raises(DataError, match="HDF5 files in its folder; got a dataset in files that are not HDF5"):
        load_scans(path)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        *(("object", "pixel_width_m", value) for value in ("4e-9", np.nan, 0.0, -4e-9, [1.0, 2.0])),
        *(("object", "pixel_height_m", value) for value in (np.array("x", "S1"), 1j, np.inf)),
        *(("object", "center_x_m", value) for value in ("middle", np.nan, h5py.Empty("f8"))),
        *(
            ("/", "probe_photon_count", value)
            for value in ("many", np.nan, -5.0, [1.0, 2.0], h5py.Empty("f8"))
        ),
    ],
)
def test_an_attribute_that_is_no_such_number_is_named(tmp_path, place, name, value):
    path = write_product(tmp_path, COUNTS)
    with h5py.File(path, "a") as file:
        file[place].attrs[name] = value
    with pytest.raises(DataError, match=rf"(attribute {name}|nphotons): .*got .*product\.h5"):
        load_scans(path)


def test_lists_of_another_length_are_named(tmp_path):
    path = write_product(tmp_path, COUNTS)
    with h5py.File(path, "a") as file:
        del file["probe_position_y_m"]
        file["probe_position_y_m"] = np.zeros(3)
    with pytest.raises(DataError, match=r"probe_position_y_m: .*got 3"):
        load_scans(path)
    path = write_product(tmp_path, COUNTS, measured=(0, 1, 2))
    with pytest.raises(DataError, match=r"indexes: .*got 3"):
        load_scans(path)


@pytest.mark.parametrize("what", ["chunk", "table of chunks"])
def test_a_damaged_chunk_is_named(tmp_path, what):
    path = write_cxi(tmp_path / "scan.cxi", COUNTS)
    with h5py.File(path, "a") as file:
        del file["entry_1/data_1/data"]
        file.create_dataset("entry_1/data_1/data", data=COUNTS, chunks=(1, 8, 8), compression="gzip")
        chunk = file["entry_1/data_1/data"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    place = chunk.byte_offset if what == "chunk" else content.index(b"TREE\x01")
    content[place : place + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"entry_1/data_1/data: .*got '.*scan\.cxi"):
        load_scans(path)


@pytest.mark.parametrize("name", ["product.h5", "diffraction.h5", "scan.cxi"])
def test_a_file_cut_short_or_damaged_anywhere_is_read_or_a_data_error(tmp_path, name):
    path, spoiled = scan_file(tmp_path, name)
    whole = spoiled.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for number in range(120):
        place = int(rng.integers(len(whole)))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        spoiled.write_bytes(whole[:place] if number % 3 == 0 else damaged)
        try:
            load_scans(path)
        except DataError:
            refused += 1
    assert refused >= 40

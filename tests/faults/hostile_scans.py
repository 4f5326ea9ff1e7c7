"""Scan files that attack their reader."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.doors import INJECTED

Made = Callable[[Path, Path], Path]
"""Makes a file in a folder; the other path is the canary, which only code in the file would create."""
Case = tuple[str, Made]


KEYS = (
    *(
        "diff3d",
        "diffraction",
        "xcoords",
        "ycoords",
        "probeGuess",
        "bad_pixels",
        "holdout",
        "half",
        "scan_index",
    ),
    *("objectGuess", "objectTruth", "probeTruth", "label_amp", "label_phase", "nphotons", "metadata"),
)


class Bomb:
    """Unpickled, it creates the canary."""

    def __init__(self, canary: Path) -> None:
        self._canary = str(canary)

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self._canary, "w")


def pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that run code, by name."""
    found = {f"protocol {number}": pickle.dumps(Bomb(canary), number) for number in range(6)}
    command = f"touch '{canary}'"
    found["os.system"] = f"cos\nsystem\n(S{command!r}\ntR.".encode()
    found["builtins.exec"] = f"c__builtin__\nexec\n(S{f'open({str(canary)!r}, chr(119))'!r}\ntR.".encode()
    return found


def sound(**changed: Any) -> dict[str, Any]:
    """Arrays of a small scan, some changed; None leaves one out."""
    rng = np.random.default_rng(0)
    side = np.arange(32) - 16
    spot = np.exp(-(side[:, None] ** 2 + side**2) / 40.0)
    places = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2) * 4 + 30
    arrays = {
        "diff3d": np.sqrt(rng.poisson(spot * 200, (36, 32, 32))).astype(np.float32),
        "xcoords": places[:, 0],
        "ycoords": places[:, 1],
        "probeGuess": spot.astype(np.complex64),
    }
    return {name: value for name, value in {**arrays, **changed}.items() if value is not None}


def npy(array: Any) -> bytes:
    """An array as the bytes of an NPY file; objects are pickled."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array))
    return stream.getvalue()


def headed(header: str, version: bytes = b"\x01\x00", content: bytes = b"\0" * 64) -> bytes:
    """An NPY file with this header."""
    text = header.encode("latin-1", errors="replace") + b"\n"
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + content


def archive(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive of these members."""
    with zipfile.ZipFile(path, "w", how) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def scan_members(**changed: Any) -> dict[str, bytes]:
    return {f"{name}.npy": npy(value) for name, value in sound(**changed).items()}


def with_member(key: str, content: bytes) -> Made:
    """A sound NPZ whose member of a key has another content."""
    return lambda folder, _: archive(folder / "scan.npz", scan_members() | {f"{key}.npy": content})


def _pickled_members() -> Iterator[Case]:
    for key in KEYS:
        yield (
            f"NPZ: objects in {key}",
            lambda folder, canary, key=key: archive(
                folder / "scan.npz", scan_members() | {f"{key}.npy": npy(np.array([Bomb(canary)], object))}
            ),
        )
        yield (
            f"NPZ: {key} is a pickle",
            lambda folder, canary, key=key: archive(
                folder / "scan.npz", scan_members() | {f"{key}.npy": pickles(canary)["os.system"]}
            ),
        )
    fields = np.dtype([("x", "f8"), ("y", "O")])
    for key in ("diff3d", "probeGuess", "metadata"):
        yield (
            f"NPZ: fields of objects in {key}",
            lambda folder, canary, key=key: archive(
                folder / "scan.npz",
                scan_members() | {f"{key}.npy": npy(np.array([(1.0, Bomb(canary))], fields))},
            ),
        )


def _whole_pickles() -> Iterator[Case]:
    for suffix in (".npz", ".h5", ".cxi"):
        for name in ("protocol 0", "protocol 2", "protocol 5", "os.system", "builtins.exec"):

            def make(folder: Path, canary: Path, name: str = name, suffix: str = suffix) -> Path:
                path = folder / f"scan{suffix}"
                path.write_bytes(pickles(canary)[name])
                return path

            yield f"{suffix}: a pickle ({name})", make


HEADERS = {
    "a call": "__import__('os').system('touch canary')",
    "a call in the shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').getpid(),)}",
    "a huge shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 10000, 10000)}",
    "an overflowing shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2)}",
    "a negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 32, 32)}",
    "a fractional shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5, 32, 32)}",
    "a shape of many axes": f"{{'descr': '<f4', 'fortran_order': False, 'shape': {(1,) * 60}}}",
    "a long dtype": "{'descr': '|S1000000000', 'fortran_order': False, 'shape': (1000,)}",
    "nested dtypes": "{'descr': "
    + "[('a', " * 60
    + "'<f4'"
    + ")]" * 60
    + ", 'fortran_order': False, 'shape': (1,)}",
    "deep brackets": "{'descr': " + "(" * 5000 + ")" * 5000 + ", 'fortran_order': False, 'shape': (1,)}",
    "no mapping": "[1, 2]",
    "other names": "{'descr': '<f4', 'shape': (1,)}",
    "times": "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (8,)}",
    "an escape": "{'descr': '\\x1b[31m<f4', 'fortran_order': False, 'shape': (8,)}",
    "raw storage": "{'descr': '|V8', 'fortran_order': False, 'shape': (8,)}",
}


def _headers() -> Iterator[Case]:
    for key in ("diff3d", "xcoords", "probeGuess", "metadata"):
        for name, header in HEADERS.items():
            yield f"NPZ: {name} in the header of {key}", with_member(key, headed(header))
    large = "{'descr': '<f4', 'fortran_order': False, 'shape': (8,)}" + " " * 10**6
    yield "NPZ: a header of a megabyte", with_member("diff3d", headed(large, b"\x02\x00"))
    for version in (b"\x03\x00", b"\x09\x09"):
        text = headed(HEADERS["times"], version)
        yield f"NPZ: header version {version!r}", with_member("diff3d", text)
    yield "NPZ: a header cut off", with_member("diff3d", npy(np.zeros(3))[:20])
    yield "NPZ: an empty member", with_member("diff3d", b"")


def _bombs() -> Iterator[Case]:
    zeros = headed("{'descr': '<f4', 'fortran_order': False, 'shape': (300000, 32, 32)}", content=b"")

    def bomb(folder: Path, key: str, how: int) -> Path:
        path = folder / "scan.npz"
        with zipfile.ZipFile(path, "w", how) as packed:
            for name, content in scan_members().items():
                if name != f"{key}.npy":
                    packed.writestr(name, content)
            with packed.open(f"{key}.npy", "w", force_zip64=True) as stream:
                stream.write(zeros)
                for _ in range(64):  # a gigabyte
                    stream.write(bytes(16 * 2**20))
        return path

    for key in ("diff3d", "probeGuess", "bad_pixels", "label_amp", "metadata"):
        yield (
            f"NPZ: {key} unpacks to a gigabyte",
            lambda folder, _, key=key: bomb(folder, key, zipfile.ZIP_DEFLATED),
        )
    for key in ("diff3d", "xcoords"):
        for name, place, value in (
            ("says a terabyte", 24, struct.pack("<I", 0xFFFFFFFE)),
            ("is compressed in a way of its own", 10, struct.pack("<H", 99)),
            ("is encrypted", 8, struct.pack("<H", 1)),
            ("begins elsewhere", 42, struct.pack("<I", 0x7FFFFFFF)),
            ("overlaps another member", 42, struct.pack("<I", 0)),
        ):

            def make(folder: Path, _: Path, key: str = key, place: int = place, value: bytes = value) -> Path:
                path = archive(folder / "scan.npz", scan_members())
                content = bytearray(path.read_bytes())
                entry = content.rindex(f"{key}.npy".encode()) - 46
                content[entry + place : entry + place + len(value)] = value
                path.write_bytes(content)
                return path

            yield f"NPZ: the table says that {key} {name}", make
    for name, how in (("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
        yield (
            f"NPZ: packed by {name}",
            lambda folder, _, how=how: archive(folder / "scan.npz", scan_members(), how),
        )


MEMBERS = (
    *("../../evil.npy", "/evil.npy", "..\\..\\evil.npy", "C:\\evil.npy", "a/../diff3d.npy"),
    *(
        "\x1b]0;title\x07.npy",
        f"a\n{INJECTED}.npy",
        "x" * 60000 + ".npy",
        "diff3d",
        "DIFF3D.NPY",
        "diff3d.npy/",
    ),
)


def _members() -> Iterator[Case]:
    for name in MEMBERS:
        yield (
            f"NPZ: a member {name[:20]!r}",
            lambda folder, _, name=name: archive(
                folder / "scan.npz", scan_members() | {name: npy(np.zeros(3))}
            ),
        )

    def twice(folder: Path, _: Path) -> Path:
        path = archive(folder / "scan.npz", scan_members())
        import warnings

        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as packed:
            warnings.simplefilter("ignore")
            packed.writestr("diff3d.npy", npy(np.zeros((36, 32, 32), np.float32)))
        return path

    yield "NPZ: a member twice", twice


METADATA = {
    "10,000 deep": "[" * 10000 + "]" * 10000,
    "100,000 deep": '{"a":' * 100000 + "1" + "}" * 100000,
    "10 MB": json.dumps({"a": "x" * 10**7}),
    "a million names": json.dumps({str(i): i for i in range(10**6)}),
    "NaN": '{"nphotons": NaN}',
    "infinity": '{"nphotons": Infinity}',
    "a number of 10,000 digits": '{"nphotons": ' + "9" * 10000 + "}",
    "a name twice": '{"measurement_domain": "amplitude", "measurement_domain": "intensity"}',
    "an escape in the domain": '{"measurement_domain": "\\u001b[31mred"}',
    "a line break in the domain": f'{{"measurement_domain": "a\\n{INJECTED}"}}',
    "a domain that is a list": '{"measurement_domain": ["amplitude"]}',
    "a domain that is a mapping": '{"measurement_domain": {"a": 1}}',
    "a long domain": json.dumps({"measurement_domain": "x" * 10**6}),
    "half a character": '{"measurement_domain": "\\ud800"}',
    "photons that are text": '{"nphotons": "\\u001b[31m1e9"}',
    "photons that are true": '{"nphotons": true}',
    "negative photons": '{"nphotons": -5}',
    "an escape in a name": '{"\\u001b[2J": 1}',
    "text turned around": '{"measurement_domain": "\\u202eabc"}',
    "no JSON": "\x1b[31mnot json",
    "a line break in no JSON": f"a\n{INJECTED}",
    "a NUL": '{"a": "\\u0000"}',
}


def _metadata() -> Iterator[Case]:
    for name, text in METADATA.items():
        yield (
            f"NPZ: metadata: {name}",
            lambda folder, _, text=text: archive(
                folder / "scan.npz", scan_members(metadata=np.array(text, dtype=str))
            ),
        )
    for name, array in (
        ("bytes", np.array(b"\xff\xfe")),
        ("numbers", np.zeros(3)),
        ("several texts", np.array(["{}", "{}"])),
    ):
        yield f"NPZ: metadata: {name}", with_member("metadata", npy(array))


NAMES = (
    *(
        "\x1b[31mred.npz",
        "\x1b]0;title\x07.npz",
        f"a\n{INJECTED}.npz",
        f"a\r{INJECTED}.npz",
        "...npz",
        "-x.npz",
    ),
    *(
        "--overwrite.npz",
        "%s%n.npz",
        "{0}.npz",
        "$(touch canary).npz",
        ";touch canary;.npz",
        "`id`.npz",
        "[a-z].npz",
    ),
    *(
        "*.npz",
        "a b\t.npz",
        "\u202egnp.npz",
        "\x7f\x9b31m.npz",
        "\udcff\udcfe.npz",
        "x" * 240 + ".npz",
        "'\".npz",
    ),
    *("scan.NPZ", "scan.npz.npz", " .npz", "~.npz", "#.npz", "a\u2028b.npz", "a,b.npz", "a=b.npz"),
)


def _names() -> Iterator[Case]:
    for name in NAMES:
        shown = name.encode("ascii", "backslashreplace").decode()[:20]
        yield f"a file called {shown!r}", lambda folder, _, name=name: archive(folder / name, scan_members())

        def wrong(folder: Path, _: Path, name: str = name) -> Path:
            return archive(folder / name, scan_members(xcoords=np.zeros(3)))

        yield f"a wrong file called {shown!r}", wrong


def _special() -> Iterator[Case]:
    def linked(target: str) -> Callable[[Path, Path, str], Path]:
        def make(folder: Path, _: Path, suffix: str) -> Path:
            (folder / f"scan{suffix}").symlink_to(target)
            return folder / f"scan{suffix}"

        return make

    def pipe(folder: Path, _: Path, suffix: str) -> Path:
        os.mkfifo(folder / f"scan{suffix}")
        return folder / f"scan{suffix}"

    def directory(folder: Path, _: Path, suffix: str) -> Path:
        (folder / f"scan{suffix}").mkdir()
        return folder / f"scan{suffix}"

    def empty(folder: Path, _: Path, suffix: str) -> Path:
        (folder / f"scan{suffix}").touch()
        return folder / f"scan{suffix}"

    def sparse(folder: Path, _: Path, suffix: str) -> Path:
        with (folder / f"scan{suffix}").open("wb") as file:
            file.truncate(2**40)
        return folder / f"scan{suffix}"

    kinds: dict[str, Callable[[Path, Path, str], Path]] = {
        "a link to itself": linked("scan.npz"),
        "a link to /dev/zero": linked("/dev/zero"),
        "a link to /proc/kmsg": linked("/proc/kmsg"),
        "a link to /dev/full": linked("/dev/full"),
        "a link to the memory of the process": linked("/proc/self/mem"),
        "a link to nothing": linked("/nowhere/scan"),
        "a pipe": pipe,
        "a folder": directory,
        "empty": empty,
        "a terabyte of nothing": sparse,
    }
    for suffix in (".npz", ".h5", ".cxi"):
        for name, make in kinds.items():
            yield (
                f"{suffix}: {name}",
                lambda folder, canary, make=make, suffix=suffix: make(folder, canary, suffix),
            )


SCANS: tuple[Case, ...] = (
    *_pickled_members(),
    *_whole_pickles(),
    *_headers(),
    *_bombs(),
    *_members(),
    *_metadata(),
    *_names(),
    *_special(),
)

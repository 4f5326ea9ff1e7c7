"""Where the archive of a trained model is, and what it says the model is; the weights in it are not read here."""

import contextlib
import json
import struct
import zipfile
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from ptycho.config.errors import ConfigError, Failure, printable, show
from ptycho.config.record import RECORD, damages, is_record, settings_in, version_of
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.regular_files import open_regular, read_regular

ARCHIVE: Final = "wts.h5.zip"
"""The file of a trained model in the output folder of its training."""
CHECKPOINTS: Final = "checkpoints"
"""The folder of the checkpoints in it."""
ARCHIVE_CONFIG: Final = "config.json"
"""The member of the archive that says what the model is."""
READING: Final = "reading"
"""What the configuration of a model calls the settings of [data] that its scans were read with."""
ARCHIVE_WEIGHTS: Final = "weights.safetensors"
"""The member of the archive that holds the weights."""
LARGEST_CONFIG: Final = 64 * 2**20
"""No configuration of a model is larger; in bytes."""
PROBLEM: Final = "problem"
"""Where its configuration, and the figures of a reconstruction, tell why the run came to nothing."""
UNREADABLE: Final = (zipfile.BadZipFile, EOFError, OverflowError, RuntimeError, ValueError, struct.error)
"""What zipfile raises where sizes, offsets or names in its tables are damaged."""

_ENCRYPTED: Final = 0x1
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_LISTED: Final = 3
"""Models that a message names."""


class BundleError(ConfigError):
    """A file that is no readable model archive. The message names the file and the way out."""


def find_archive(model_path: str | Path | None) -> Path:
    """The archive of a trained model, the folder that holds its unpacked members, or that of an unfinished training.

    Args:
        model_path: the archive, the folder it is in, or the folder of its unpacked members.

    Raises:
        ConfigError: none of these is there, or a scan.
    """
    if isinstance(model_path, str | Path):
        path = Path(model_path)
        if path.suffix == ".ckpt":
            rule = "expected the folder of a training, whose latest sound checkpoint is used if it has not finished"
            message = (
                f"inference.model_path: {rule}; got the checkpoint '{printable(str(path))}'. Name the folder."
            )
            raise ConfigError([Failure("inference.model_path", message)])
        if path.is_file():
            _refuse_scan(path)
            return path
        if (path / ARCHIVE).is_file():
            return path / ARCHIVE
        if (path / ARCHIVE_CONFIG).is_file() and (path / ARCHIVE_WEIGHTS).is_file():
            return path
        if is_unfinished(path):
            return path
    rule = f"expected the output folder of a training, which holds {ARCHIVE}"
    got, cure = show(model_path), "Train first, or correct the path."
    if isinstance(model_path, str | Path):
        got = f"'{printable(str(model_path))}'"
        below = sorted(found.parent for found in Path(model_path).glob(f"*/{ARCHIVE}"))
        if below:  # of an earlier run that is kept until the new one has saved, or of several
            cure = f"Name the folder of an existing model: {printable(', '.join(map(str, below[:_LISTED])))}."
    message = f"inference.model_path: Model archive not found: {rule}; got {got}. {cure}"
    raise ConfigError([Failure("inference.model_path", message)])


def _refuse_scan(path: Path) -> None:
    """Refuse a file of arrays where a model is expected."""
    if _holds_arrays(path):
        rule = "expected the folder of a training"
        got = f"got the scan '{printable(str(path))}'. Correct the path, or leave the model out."
        raise ConfigError([Failure("inference.model_path", f"inference.model_path: {rule}; {got}")])


def _holds_arrays(path: Path) -> bool:
    """Whether a file is one of HDF5 or an NPZ; False of one that is damaged."""
    try:
        with open_regular(path) as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return file.read(len(_HDF5)) == _HDF5
            with zipfile.ZipFile(file) as packed:
                names = packed.namelist()
    except (*UNREADABLE, FileNotFoundError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def is_unfinished(path: Path) -> bool:
    """Whether a folder is that of a training which has checkpoints, and no model yet."""
    has_model = any((path / name).exists() for name in (ARCHIVE, ARCHIVE_WEIGHTS))
    return not has_model and (path / RECORD).is_file() and any((path / CHECKPOINTS).glob("*.ckpt"))


def archive_files(archive: Path) -> list[Path]:
    """The files of a model, of its archive or the folder that `find_archive` also takes; none that still change."""
    if is_unfinished(archive):
        return []
    if (archive / ARCHIVE).is_file():
        return [archive / ARCHIVE]
    return [archive / name for name in (ARCHIVE_CONFIG, ARCHIVE_WEIGHTS)] if archive.is_dir() else [archive]


def read_archive_config(archive: Path) -> dict[str, Any] | None:
    """What a model archive says about the model; None where it says nothing (it has no `config.json`).

    Args:
        archive: the archive, or the folder of its unpacked members.

    Raises:
        BundleError: it is not there, or no longer; it is damaged, its configuration is not stored as it is, or that
            is no JSON mapping that holds the mappings `model` and `training`.
    """
    with refused_if_gone(archive):
        if is_unfinished(archive):
            return _recorded_config(archive)
        content = _config_content(archive)
    if content is None:
        return None
    said = decode_config(archive, content)
    config = cast(dict[str, Any], said) if isinstance(said, dict) else {}
    if not all(isinstance(config.get(name), dict) for name in ("model", "training")):
        refuse(archive, f"{ARCHIVE_CONFIG} to hold 'model' and 'training'", "something else", "Train again.")
    return config


def _recorded_config(run_dir: Path) -> dict[str, Any]:
    """What the record of a training says of its model."""
    content = decode_config(run_dir, read_regular(run_dir / RECORD, LARGEST_CONFIG))
    record = cast(dict[str, Any], content) if isinstance(content, dict) else {}
    is_sound = is_record(record) and not damages(record, str(run_dir))
    if not is_sound or "training" not in (tables := settings_in(record).tables):
        refuse(run_dir / RECORD, "the record of a training", "something else", "Train again.")
    settings = {"model": tables["model"], "training": tables["training"], READING: tables.get("data", {})}
    return settings | version_of(record)


def refuse(source: Path, expected: str, found: str, way_out: str) -> NoReturn:
    """Raise the BundleError of a file: the rule, what was found, what to do."""
    message = printable(f"{source}: expected {expected}; got {found}. {way_out}")
    raise BundleError([Failure(str(source), message)])


@contextlib.contextmanager
def refused_if_gone(source: Path) -> Generator[None]:
    """While a model is read: the BundleError where it is not there, or no longer, since another run replaces it."""
    try:
        yield
    except FileNotFoundError:
        advice = f"Model archive not found: give the output folder of a training run, which holds {ARCHIVE}."
        refuse(source, "a model archive", "no such path", advice)


def refuse_damaged(source: Path, found: str) -> NoReturn:
    """Raise the BundleError of a file that is not as it was written."""
    refuse(
        source, "an intact model archive", found, "Copy it again from where it was written, or train again."
    )


def refuse_too_large(path: Path) -> None:
    """Refuse a file of a model that there is no memory to read.

    Raises:
        BundleError: it is larger.
    """
    n_bytes = path.stat().st_size
    if too_large(n_bytes):
        expected = f"a model that fits into the available memory, {size_text(available_bytes())}"
        refuse(path, expected, size_text(n_bytes), "Use a machine with more memory.")


def check_stored(source: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse members that are compressed or encrypted: one stored as it is holds no more than the file.

    Raises:
        BundleError: there is such a member.
    """
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & _ENCRYPTED:
            refuse(
                source,
                "uncompressed members",
                f"{member.filename!r} compressed or encrypted",
                "Unpack it into a folder and give that folder.",
            )


def decode_config(source: Path, content: bytes) -> object:
    """The JSON value in the configuration of a model.

    Raises:
        BundleError: it is too large, or not JSON: names that appear twice, NaN and infinity included.
    """
    _check_size(source, len(content))
    try:
        return json.loads(content, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        refuse_damaged(source, f"{ARCHIVE_CONFIG} that is not JSON ({error})")


def _config_content(archive: Path) -> bytes | None:
    if archive.is_dir():
        place = archive / ARCHIVE_CONFIG
        _check_size(archive, place.stat().st_size)
        return read_regular(place, LARGEST_CONFIG)
    with open_regular(archive) as file:
        if not zipfile.is_zipfile(file):
            return None
        try:
            with zipfile.ZipFile(file) as packed:
                if ARCHIVE_CONFIG not in packed.namelist():
                    return None
                member = packed.getinfo(ARCHIVE_CONFIG)
                check_stored(archive, [member])
                _check_size(archive, member.file_size)
                return packed.read(member)
        except BundleError:
            raise
        except UNREADABLE as error:
            refuse_damaged(archive, f"a file that is not a complete zip archive ({error})")


def _check_size(source: Path, n_bytes: int) -> None:
    if n_bytes > LARGEST_CONFIG:
        refuse_damaged(source, f"{ARCHIVE_CONFIG} of {n_bytes} bytes, more than {LARGEST_CONFIG}")


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name appears twice")
    return names

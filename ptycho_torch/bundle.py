"""Saving a trained model to one file, and loading it without executing anything from that file.

A bundle is a zip archive, `wts.h5.zip`, with two members, both stored uncompressed:

    weights.safetensors   the model's state dict
    config.json           format (1), version (the writer's), and the configuration given to `save_bundle`

Equal content gives equal bytes. Nothing is ever unpickled.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch

from ptycho.atomic import atomic_write
from ptycho.model_archive import (
    ARCHIVE,
    ARCHIVE_CONFIG,
    ARCHIVE_WEIGHTS,
    UNREADABLE,
    BundleError,
    check_stored,
    decode_config,
    refuse,
    refuse_damaged,
    refuse_too_large,
    refused_if_gone,
)
from ptycho.regular_files import read_regular
from ptycho.version import installed_version

__all__ = ["FORMAT", "Bundle", "BundleError", "load_bundle", "save_bundle"]

FORMAT = 1

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can state


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds.

    Attributes:
        state_dict: the model's parameters and buffers, on the CPU.
        config: the configuration as saved, with `format` and `version`.
    """

    state_dict: dict[str, torch.Tensor]
    config: dict[str, Any]


def save_bundle(
    path: str | Path,
    *,
    state_dict: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    opened: Callable[[Path], AbstractContextManager[BinaryIO]] = atomic_write,
) -> Path:
    """Write a bundle; a reader sees the old file or the new one, never a part.

    Args:
        path: the file to write, or a folder, in which `wts.h5.zip` is written. Folders are created.
        state_dict: parameters and buffers by name, on any device. Complex tensors are supported.
        config: JSON data saved with them (the model's configuration and whatever else describes the run).
        opened: opens the file, as `atomic_write` does.

    Returns:
        The file written.

    Raises:
        BundleError: `config` is not JSON data, or states `format` or `version`.
        OSError: the file cannot be written.
    """
    path = Path(path)
    target = path if path.suffix == ".zip" else path / ARCHIVE
    members = {
        ARCHIVE_CONFIG: _encode_config(target, config),
        ARCHIVE_WEIGHTS: _encode_tensors(state_dict),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # the same bytes on every system
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return target


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle; everything it says is checked, nothing in it is executed.

    Args:
        path: the archive, a folder that holds `wts.h5.zip`, or a folder that holds its unpacked members.

    Returns:
        The tensors (on the CPU) and the configuration.

    Raises:
        BundleError: there is no bundle at `path`, or it is damaged, foreign, or of a newer format.
    """
    path = Path(path)
    if path.is_dir() and not (path / ARCHIVE).is_file():
        source, members = path, _read_folder(path)
    else:
        source = path / ARCHIVE if path.is_dir() else path
        members = _read_archive(source)
    config = _checked_config(source, members[ARCHIVE_CONFIG])
    return Bundle(state_dict=_decode_tensors(source, members[ARCHIVE_WEIGHTS]), config=config)


def _encode_config(target: Path, config: Mapping[str, Any]) -> bytes:
    for name in ("format", "version"):
        if name in config:
            refuse(
                target,
                f"a configuration without {name!r}",
                f"{config[name]!r}",
                "Drop it: the bundle adds its own.",
            )
    stated = {**config, "format": FORMAT, "version": installed_version()}
    try:
        return json.dumps(stated, sort_keys=True, indent=1, allow_nan=False).encode("ascii")
    except (TypeError, ValueError) as error:
        refuse(
            target,
            "a configuration of JSON data",
            str(error),
            "Give plain numbers, text, lists and mappings.",
        )


def _encode_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    # safetensors has no complex128: such a tensor is stored as pairs of float64, and named in the header
    paired = sorted(name for name, value in tensors.items() if value.dtype == torch.complex128)
    stored = {
        name: (torch.view_as_real(value.resolve_conj()) if name in paired else value)
        # a copy, since tensors that share memory (tied weights) are refused
        .detach()
        .cpu()
        .clone(memory_format=torch.contiguous_format)
        for name, value in sorted(tensors.items())
    }
    return safetensors.torch.save(stored, {"complex128": json.dumps(paired)} if paired else None)


def _read_folder(folder: Path) -> dict[str, bytes]:
    missing = [name for name in (ARCHIVE_CONFIG, ARCHIVE_WEIGHTS) if not (folder / name).is_file()]
    if missing:
        refuse(
            folder,
            f"a folder with {ARCHIVE}, or with {ARCHIVE_CONFIG} and {ARCHIVE_WEIGHTS}",
            f"a folder without {ARCHIVE} and without {' and '.join(missing)}"
            if folder.is_dir()
            else "no such path",
            "Model archive not found: give the output folder of a training run.",
        )
    with refused_if_gone(folder):
        for name in (ARCHIVE_CONFIG, ARCHIVE_WEIGHTS):
            refuse_too_large(folder / name)
        return {name: read_regular(folder / name) for name in (ARCHIVE_CONFIG, ARCHIVE_WEIGHTS)}


def _read_archive(source: Path) -> dict[str, bytes]:
    with refused_if_gone(source):
        refuse_too_large(source)
        content = read_regular(source)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(source, archive.infolist())
            return {name: archive.read(name) for name in (ARCHIVE_CONFIG, ARCHIVE_WEIGHTS)}
    except BundleError:
        raise
    except UNREADABLE as error:
        refuse_damaged(source, f"a file that is not a complete zip archive ({error})")


def _check_members(source: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if any(name.endswith(".pkl") for name in names):
        refuse(
            source,
            "an archive of weights and settings",
            "a pickle, which can run any code when it is read",
            "It was not opened. Train again, or ask its author for an archive that this program has written.",
        )
    if sorted(names) != sorted((ARCHIVE_CONFIG, ARCHIVE_WEIGHTS)):
        listed = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        refuse(
            source,
            f"exactly the members {ARCHIVE_CONFIG!r} and {ARCHIVE_WEIGHTS!r}",
            listed or "an empty archive",
            "It was written by another program; train again with this one.",
        )
    check_stored(source, members)


def _checked_config(source: Path, content: bytes) -> dict[str, Any]:
    config = decode_config(source, content)
    if not isinstance(config, dict) or type(config.get("format")) is not int:
        refuse_damaged(source, f"{ARCHIVE_CONFIG} without a format")
    if config["format"] != FORMAT:
        refuse(
            source,
            f"bundle format {FORMAT}",
            f"format {config['format']}, written by version {config.get('version', 'unknown')!s:.40}",
            "Install that version or a newer one: in a checkout of it, run pip install .",
        )
    return config


def _decode_tensors(source: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        tensors = safetensors.torch.load(content)
        paired = _paired_names(content)
        return {
            name: torch.view_as_complex(value) if name in paired else value for name, value in tensors.items()
        }
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        refuse_damaged(source, f"{ARCHIVE_WEIGHTS} that cannot be read ({error})")


def _paired_names(content: bytes) -> set[str]:
    """The tensors stored as pairs of real numbers, from the header (already checked by safetensors)."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    names = json.loads(header.get("__metadata__", {}).get("complex128", "[]"))
    if not isinstance(names, list):
        raise ValueError("complex128 is no list of names")
    return set(map(str, names))

"""What the data and a trained model say of a configuration: levels of a request, with their places."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.origins import Layer
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.sources import read_saved
from ptycho.data_error import DataError
from ptycho.model_archive import ARCHIVE_CONFIG, READING, find_archive, read_archive_config
from ptycho.run_names import refuse_run
from ptycho.scan_facts import ScanFacts, disagreement, scan_facts, scan_files

logger = logging.getLogger(__name__)

BELOW_FILES: Final = -(2**30)
"""The level of what a model was trained on among files: how its scans were read, where no file says."""


def files_of(path: object, complaint: str) -> list[Path]:
    """The files of a scan or data set.

    Args:
        path: a file or a folder.
        complaint: how the message begins where the file does not exist.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: it is the folder of a run.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path).strip():
        raise FileNotFoundError(f"{complaint}: expected a path; got {path!r}. Name the scan.")
    refuse_run(path)
    try:
        return scan_files(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{complaint}: {error}") from None


def model_and_files(model_path: str | Path | None, data: object, place: str = "") -> tuple[Path, list[Path]]:
    """The archive of a model and the files of a scan to reconstruct.

    Args:
        model_path: of the model.
        data: the scan.
        place: where the scan is named, for the message where there is none.

    Raises:
        ConfigError: there is no such model, or neither of the two.
        FileNotFoundError: there is no such scan.
        DataError: it is the folder of a run.
    """
    missing: tuple[Failure, ...] = ()
    try:
        archive = find_archive(model_path)
    except ConfigError as error:
        archive, missing = Path(), error.failures
    try:
        files = files_of(data, f"Scan file not found{place}")
    except FileNotFoundError as error:
        if not missing:
            raise
        raise ConfigError([*missing, Failure("data", str(error))]) from None
    if missing:
        raise ConfigError(missing)
    return archive, files


def from_data(request: Request, files: list[Path]) -> dict[str, tuple[Any, str]]:
    """What the scans say: field -> (value, where). Fields that an override or a flag settles need not be there."""
    reading = request.settings(DataConfig)
    if reading is None:
        return {}
    try:
        facts = [scan_facts(path, reading) for path in files]
    except DataError as error:
        if request.asks_for("N") is None:
            raise
        logger.info("N is set; the data do not give it (%s)", error)
        return {}
    places = {"N": ("n_pixels", "the probe"), "nphotons": ("nphotons", "nphotons")}
    said: dict[str, tuple[Any, str]] = {}
    for field, (fact, what) in places.items():
        value = getattr(facts[0], fact)
        if (differ := disagreement(facts, fact)) and request.asks_for(field) is None:
            raise DataError(
                f"{field}: expected one value in a data set; got {differ}. Set {field}, or split the data."
            )
        if value is not None:
            said[field] = value, f"{what} in {facts[0].path}"
    return said


def inferred_layer(said: Mapping[str, tuple[Any, str]], *names: str) -> Layer:
    """The level of what `from_data` found for these fields."""
    known = {name: said[name] for name in names if name in said}
    values = {name: value for name, (value, _) in known.items()}
    return Layer("inferred", values, {name: place for name, (_, place) in known.items()})


def trained_layers(archive: Path) -> dict[str, Layer]:
    """What an archive says of its model and its training, as levels by section."""
    said = read_archive_config(archive)
    if said is None:
        logger.warning(
            "%s does not describe its model: N comes from the data, the other settings from you", archive
        )
        said = {"model": {}, "training": {}}
    place = f"{ARCHIVE_CONFIG} in {archive}, written by version {said.get('version', 'unknown')}"
    sections = (section_of(ModelConfig), section_of(TrainingConfig))
    layers = {one.table: read_saved("inferred", said[one.table], one, place, "", level=1) for one in sections}
    reading = said.get(READING) or {}
    return layers | {
        "data": read_saved("file", reading, section_of(DataConfig), place, "", level=BELOW_FILES)
    }


def add_model(request: Request, trained: Mapping[str, Layer], files: list[Path]) -> None:
    """Add what the trained model is; only where it does not say its N do the data."""
    request.add(ModelConfig, trained["model"])
    request.add(DataConfig, trained["data"])
    of_model = trained["model"].values.get("N")
    if of_model is None:
        request.add(ModelConfig, inferred_layer(from_data(request, files), "N"))
    elif request.asks_for("N") is None:
        for fact in _readable_facts(files, request.settings(DataConfig)):
            if fact.n_pixels != of_model:
                rule = f"expected data of {of_model} pixels, the size that the model was trained on"
                message = f"model.N: {rule}; got {fact.n_pixels} from the probe in {fact.path}. Train for this size."
                request.fail([Failure("model.N", message)])


def _readable_facts(files: list[Path], reading: DataConfig | None) -> Iterator[ScanFacts]:
    for path in files:
        try:
            yield scan_facts(path, reading)
        except DataError as error:
            logger.info("the data do not give N (%s)", error)

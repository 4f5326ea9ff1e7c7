"""What a run recorded of its settings, read back as a request; the environment is not read."""

from collections.abc import Mapping
from typing import Any, cast

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, show, written_by
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.config.sources import read_saved


def is_record(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is the `config.json` of a run, be it damaged."""
    return not content.keys().isdisjoint(("configuration", "origins"))


def is_of_solver(record: Mapping[str, Any]) -> bool:
    """Whether a sound record is of a reconstruction without a model."""
    return "n_iterations" in record["configuration"]


def damages(record: Mapping[str, Any], place: str) -> list[Failure]:
    """Find what is not as in any record of a run.

    Args:
        record: A `config.json`.
        place: The path of that, for messages.
    """
    configuration, versions = record.get("configuration"), record.get("versions")
    parts = {name: record.get(name) for name in ("configuration", "execution", "origins")}
    parts["versions"] = {} if versions is None else versions
    if isinstance(configuration, Mapping):
        parts["configuration.model"] = cast(Mapping[str, Any], configuration).get("model", {})
    lists = {name: record[name] for name in ("resumed", "fingerprints") if record.get(name) is not None}
    found = [(name, part, "a mapping") for name, part in parts.items() if not isinstance(part, Mapping)]
    found += [(name, part, "a list") for name, part in lists.items() if not isinstance(part, list)]
    return [
        Failure(
            name,
            f"{place}: {name}: expected {kind}; got {show(part)}. The record of the run is damaged.",
        )
        for name, part, kind in found
    ]


def request_of(
    record: Mapping[str, Any],
    place: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Request:
    """Ask for the settings that a run recorded.

    Args:
        record: Its `config.json`.
        place: The path of that, for messages.
        overrides: Setting -> value, above what was recorded.
        flags: Flags that were passed, above what was recorded.

    Raises:
        ConfigError: The record is damaged.
    """
    if failures := damages(record, place):
        raise ConfigError(failures)
    values = dict(cast(Mapping[str, Any], record["configuration"]))
    versions = cast(Mapping[str, Any], record.get("versions") or {})
    parts: dict[type, Any] = {PyTorchExecutionConfig: record["execution"]}
    if is_of_solver(record):
        parts = {SolverConfig: values, **parts}
    else:
        model = cast(Mapping[str, Any], values.pop("model", {}))
        cls = TrainingConfig if "train_data_file" in values else InferenceConfig
        parts = {ModelConfig: model, cls: values, **parts}
    request = Request([*parts], overrides=overrides, flags=flags, environ={})
    for part, given in parts.items():
        told = written_by(versions.get("ptychopinn"), "record")
        request.add(part, read_saved("file", given, section_of(part), place, told))
    return request

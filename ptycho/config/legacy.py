"""What earlier callers use: the one-way bridge to the legacy parameter dictionary, and plain YAML.

Rule CONFIG-001: the dictionary is filled from a canonical configuration before any legacy consumer reads it.
Rule CONFIG-002: execution settings never enter it.
"""

import dataclasses
import os
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any, Final, cast

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError, Failure, path_of

KEY_MAPPINGS: Final = {
    "object_big": "object.big",
    "probe_big": "probe.big",
    "probe_mask": "probe.mask",
    "probe_trainable": "probe.trainable",
    "intensity_scale_trainable": "intensity_scale.trainable",
    "positions_provided": "positions.provided",
    "output_dir": "output_prefix",
    "train_data_file": "train_data_file_path",
    "test_data_file": "test_data_file_path",
}
"""Field -> legacy key; every other field keeps its name."""


def dataclass_to_legacy_dict(config: object) -> dict[str, Any]:
    """The fields of a canonical configuration by their legacy keys.

    Args:
        config: A canonical configuration; the fields of a nested model stand beside the others.

    Returns:
        A new flat dictionary; paths are text, None stays None. How a scan is read is not in it: no legacy consumer
        reads files.

    Raises:
        TypeError: `config` is anything else, an execution configuration above all (CONFIG-002).
    """
    if not isinstance(config, ModelConfig | TrainingConfig | InferenceConfig):
        raise TypeError(
            f"config: expected ModelConfig, TrainingConfig or InferenceConfig; got {type(config).__name__}. "
            "Execution settings never enter the legacy dictionary (CONFIG-002)."
        )
    legacy: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, ModelConfig):
            legacy |= dataclass_to_legacy_dict(value)
        elif not isinstance(value, DataConfig):
            text = str(value) if isinstance(value, PurePath) else value
            legacy[KEY_MAPPINGS.get(field.name, field.name)] = text
    return legacy


def update_legacy_dict(cfg: MutableMapping[str, Any], config: object) -> None:
    """Write a canonical configuration into a legacy dictionary; what is None there leaves the old value.

    Args:
        cfg: The dictionary, usually `ptycho.params.cfg`.
        config: A canonical configuration.

    Raises:
        TypeError: `config` is anything else; the dictionary is then unchanged.
    """
    legacy = dataclass_to_legacy_dict(config)
    cfg.update({key: value for key, value in legacy.items() if value is not None})


def load_yaml_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file into plain dictionaries, lists and scalars, by YAML's own rules.

    Args:
        path: A `.yaml` or `.yml` file that holds a mapping.

    Raises:
        ConfigError: it is missing, unreadable, not valid YAML, not a mapping, or repeats a key.
    """
    import yaml  # with the parsers, which load with the first file

    from ptycho.config.files import ConfigFile

    name = path_of(path)
    if not name.lower().endswith((".yaml", ".yml")):
        raise ConfigError.of(name, "expected a file that ends in .yaml or .yml.")

    file = ConfigFile.collect(name)  # invalid YAML is refused with its line
    if file.failures:
        raise ConfigError(file.failures)
    if not file.content:
        return {}
    base: Any = (
        yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    )  # which reads what that one does

    class Loader(base):
        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            except ConfigError:  # of what is inside
                raise
            except (yaml.MarkedYAMLError, ValueError, OverflowError, LookupError):
                rule = "expected valid YAML of plain values; got another"
                message = f"{name}:{node.start_mark.line + 1}: {rule}. Quote it if it is text."
                raise ConfigError([Failure(name, message)]) from None

    loader = Loader(file.places.text)
    try:
        return cast(dict[str, Any], loader.get_single_data())
    finally:
        loader.dispose()

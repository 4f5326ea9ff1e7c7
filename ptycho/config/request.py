"""One request, both kinds of configuration: canonical fields and knobs, resolved together from the same levels."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import VERSION_KEY, ConfigError, Failure, near, show, unknown_name
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile
from ptycho.config.origins import Origin
from ptycho.config.rules import conflicts_between
from ptycho.config.sources import NEAR_ENOUGH, Layer, read_flags, read_values
from ptycho.config.validated import Resolution, recorded, section_of, vocabulary

KNOBS: Final = (*PyTorchExecutionConfig.model_fields, *PyTorchExecutionConfig.old_names)
"""Every name that reaches the execution configuration."""


@dataclass(frozen=True)
class Answer:
    """What a request resolves to."""

    sections: Mapping[type, Resolution[Any]]
    """Canonical class -> its fields with their origins."""
    execution: PyTorchExecutionConfig

    @property
    def sources(self) -> dict[str, Origin]:
        """`section.field` -> the origin of every canonical field."""
        return {
            f"{section_of(cls)}.{name}": origin
            for cls, resolution in self.sections.items()
            for name, origin in resolution.sources.items()
        }


class Request:
    """What a caller asks for, name by name; a name is a canonical field's or a knob's.

    Args:
        sections: Canonical classes whose fields may be named; no two share a name.
        overrides: The strongest level.
        flags: Command-line flags that were passed, by name; text is read as the field says.
        file: A run file, or a flat file of knobs.
        cli_defaults: What the command line states without a flag.
        synonyms: Other name -> canonical field.
        n_is_settled: Whether N is as it says, and not waiting for the data or a model.
    """

    def __init__(
        self,
        sections: Sequence[type],
        *,
        overrides: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        file: str | os.PathLike[str] | None = None,
        cli_defaults: Mapping[str, Any] | None = None,
        synonyms: Mapping[str, str] | None = None,
        n_is_settled: bool = False,
    ) -> None:
        self._n_is_settled = n_is_settled
        self._sections = sections
        self._synonyms = synonyms or {}
        self._file = file
        self._failures: list[Failure] = []
        self._layers: dict[type, list[Layer]] = {cls: [] for cls in sections}
        self._knobs = {
            kind: None if given is None else self._take(kind, given)
            for kind, given in (("override", overrides), ("flag", flags), ("cli-default", cli_defaults))
        }
        self._run_file = None if file is None else self._read(file)
        if self._run_file is not None and self._run_file.has_tables:
            for cls in sections:
                self.add(cls, self._run_file.layer(vocabulary(cls), section_of(cls)))

    def add(self, cls: type, layer: Layer) -> None:
        """Add a level that the caller worked out: an argument, or what the data say."""
        values = {
            name: recorded(value) for name, value in layer.values.items() if not _from_data(name, value)
        }
        self._layers[cls].append(
            Layer(layer.kind, values, layer.locators, layer.raw, layer.failures, layer.level)
        )

    def fail(self, failures: Sequence[Failure]) -> None:
        """Report something that is wrong together with everything else."""
        self._failures += failures

    def asks_for(self, name: str) -> Origin | None:
        """The override or the flag that settles a canonical field, if there is one."""
        layers = [layer for layers in self._layers.values() for layer in layers if name in layer.values]
        return next((layer.origin(name) for layer in layers if layer.kind == "override"), None)

    def says(self, cls: type, name: str) -> Any:
        """What the strongest level says of a canonical field; None where all are silent."""
        return Resolution(cls, self._layers[cls]).values.get(name)

    def speaks_of(self, name: str) -> bool:
        """Whether any level names a canonical field."""
        return any(name in layer.values for layers in self._layers.values() for layer in layers)

    def answer(self, execution: PyTorchExecutionConfig | None = None) -> Answer:
        """Resolve everything.

        Args:
            execution: An execution configuration resolved before; only overrides reach it then.

        Raises:
            ConfigError: all that is wrong with any level.
        """
        sections: dict[type, Resolution[Any]] = {
            cls: Resolution(cls, self._layers[cls]) for cls in self._sections
        }
        failures = [*self._failures, *(failure for found in sections.values() for failure in found.failures)]
        resolved = None
        try:
            resolved = self._resolve_knobs(execution)
        except ConfigError as error:
            failures += error.failures
        failures += self._conflicts(sections, resolved)
        if failures or resolved is None:
            raise ConfigError(failures)
        return Answer(sections, resolved)

    def _conflicts(
        self, sections: Mapping[type, Resolution[Any]], execution: PyTorchExecutionConfig | None
    ) -> Iterator[Failure]:
        """What does not go together, among what is right by itself."""
        values = {name: value for found in sections.values() for name, value in found.valid.items()}
        origins = {name: origin for found in sections.values() for name, origin in found.merged.items()}
        if execution is not None:
            values |= execution.to_dict()
            origins |= execution.sources
        if not self._n_is_settled and not self.speaks_of("N"):  # the data or the model will say it
            values.pop("N", None)
        return conflicts_between(values, origins, section_of(self._sections[-1]))

    def _read(self, file: str | os.PathLike[str]) -> ConfigFile | None:
        try:
            return ConfigFile.read(file, collect=True)
        except ConfigError as error:
            self.fail(error.failures)
            return None

    def _take(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Sort the names of one level; returns the knobs, and keeps a layer for each section."""
        if not isinstance(cast(object, given), Mapping):
            message = f"{kind}: expected a mapping of names to values; got {show(given)}."
            raise ConfigError([Failure(kind, message)])
        for name in given:
            if not isinstance(cast(object, name), str):
                raise ConfigError([Failure(kind, f"{kind}: expected names that are text; got {show(name)}.")])
        by_section: dict[type, dict[str, Any]] = {cls: {} for cls in self._sections}
        spelled: dict[str, str] = {}
        knobs: dict[str, Any] = {}
        for written, value in given.items():
            name = self._synonyms.get(written, written)
            home = next((cls for cls in self._sections if name in vocabulary(cls).names()), None)
            if home is None and written not in KNOBS:
                self._failures.append(self._unknown(written, kind))
            elif home is None:
                knobs[written] = value
            elif name in spelled:
                message = (
                    f"{name}: given twice ({kind}), as {spelled[name]} and as {written}. Keep one of them."
                )
                self._failures.append(Failure(name, message))
            else:
                by_section[home][name] = recorded(value)
                spelled[name] = written
        for cls, values in by_section.items():
            if values:
                names = vocabulary(cls)
                layer = read_flags(values, names) if kind == "flag" else read_values(kind, values, names)
                places = {name: spelled[name] for name in values if spelled[name] != name}
                self.add(cls, layer._replace(locators={**layer.locators, **places}))
        return knobs

    def _unknown(self, written: str, kind: str) -> Failure:
        known = [name for cls in self._sections for name in vocabulary(cls).names()]
        synonyms = [name for name, field in self._synonyms.items() if field in known]
        meant = near(written, (*known, *synonyms, *KNOBS), NEAR_ENOUGH)
        return unknown_name(written, meant, what="field or knob", place=f" ({kind})")

    def _resolve_knobs(self, execution: PyTorchExecutionConfig | None) -> PyTorchExecutionConfig:
        overrides, flags, defaults = (self._knobs[kind] for kind in ("override", "flag", "cli-default"))
        if execution is None:
            return PyTorchExecutionConfig.resolve(
                overrides=overrides, flags=flags, file=self._file, cli_defaults=defaults
            )
        if not isinstance(cast(object, execution), PyTorchExecutionConfig):
            message = f"execution_config: expected a PyTorchExecutionConfig or none; got {show(execution)}."
            raise ConfigError([Failure("execution_config", f"{message} Make one with from_snapshot().")])
        stray = list(self._stray_knobs())
        if stray:
            raise ConfigError(stray)
        return execution.with_overrides(overrides) if overrides else execution

    def _stray_knobs(self) -> Iterator[Failure]:
        """Knobs that come too late for an execution configuration that was resolved before."""
        way_out = "the execution configuration given is resolved already. Give it to its resolve(), or as an override."
        for kind in ("flag", "cli-default"):
            for name in self._knobs[kind] or {}:
                yield Failure(name, f"{name} ({kind}): {way_out}")
        if self._run_file is None or not self._run_file.content:
            return
        path = self._run_file.path
        if not self._run_file.has_tables:
            yield Failure(path, f"{path}: expected the tables of a run file; got none; {way_out}")
        elif "execution" in self._run_file.content:
            yield Failure(path, f"{path}: [execution]: {way_out}")


def _from_data(name: str, value: Any) -> bool:
    """Whether a value leaves the field to the data."""
    return name == "N" and type(value) is int and value == 0


def is_record(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is the `config.json` of a run, be it damaged."""
    return not content.keys().isdisjoint(("configuration", "origins"))


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
    return [
        Failure(
            name,
            f"{place}: {name}: expected a mapping; got {show(part)}. The record of the run is damaged.",
        )
        for name, part in parts.items()
        if not isinstance(part, Mapping)
    ]


def _recorded(cls: type, said: Mapping[str, Any], place: str) -> Layer:
    """Read the fields of a class that a run recorded."""
    names = vocabulary(cls)
    known = {name: value for name, value in said.items() if name in names.names()}
    strange = tuple(
        unknown_name(name, names.meant_by(name), what=names.what, place=f" at {place}")
        for name in said
        if name not in known
    )
    layer = read_values("file", known, names, locate=lambda name: place)
    locators = dict.fromkeys(layer.values, place)
    return layer._replace(locators=locators, failures=(*strange, *layer.failures))


def request_of(
    record: Mapping[str, Any],
    place: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> tuple[Request, PyTorchExecutionConfig]:
    """Read the settings that a run recorded; the environment is not read.

    Args:
        record: Its `config.json`.
        place: The path of that, for messages.
        overrides: Canonical field -> value, above what was recorded.
        flags: Canonical flags that were passed, above what was recorded.

    Returns:
        The request for the canonical fields, and the recorded execution configuration.

    Raises:
        ConfigError: The record is damaged; or the execution configuration is wrong, or knows knobs that this
            version does not.
    """
    if failures := damages(record, place):
        raise ConfigError(failures)
    values = dict(cast(Mapping[str, Any], record["configuration"]))
    model = cast(Mapping[str, Any], values.pop("model", {}))
    versions = cast(Mapping[str, Any], record.get("versions") or {})
    section = TrainingConfig if "train_data_file" in values else InferenceConfig
    request = Request([ModelConfig, section], overrides=overrides, flags=flags)
    for cls, said in ((ModelConfig, model), (section, values)):
        request.add(cls, _recorded(cls, said, place))
    snapshot: dict[str, Any] = {VERSION_KEY: versions.get("ptychopinn"), **record["execution"]}
    try:
        return request, PyTorchExecutionConfig.from_snapshot(snapshot, place=place)
    except ConfigError as error:
        request.fail(error.failures)
    request.answer(PyTorchExecutionConfig.from_snapshot({}))  # raises, with what is wrong besides
    raise AssertionError("a request with failures was answered")

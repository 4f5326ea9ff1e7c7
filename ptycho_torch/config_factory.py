"""From what a caller says and what the data say to complete, checked configurations, with the origin of every value.

Who wins, the strongest first: overrides; flags that were passed; arguments; the data (N from the probe, nphotons as
stated) or the trained model; the files, the last one strongest; those of PTYCHO_CONFIG; the recipe; the defaults.
"""

import contextlib
import copy
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Layer
from ptycho.config.paths import Files
from ptycho.config.recipes import Recipe
from ptycho.config.reconstructions import unread_by_reconstructions
from ptycho.config.request import Answer, Request
from ptycho.config.resolve import resolve
from ptycho.config.section import section_of
from ptycho.data_error import DataError
from ptycho.scan_facts import infer_probe_size
from ptycho_torch.config_bridge import TABLE, from_inference_config, from_training_config
from ptycho_torch.config_inferred import (
    add_model,
    files_of,
    from_data,
    inferred_layer,
    model_and_files,
    trained_layers,
)
from ptycho_torch.config_payload import (
    InferencePayload,
    TrainingPayload,
    audit,
    completed,
    inference_side,
    populate_legacy_params,
    take_held,
    training_payload,
)

__all__ = [
    "InferencePayload",
    "Levels",
    "TrainingPayload",
    "create_inference_payload",
    "create_training_payload",
    "infer_probe_size",
    "inference_payload_of",
    "populate_legacy_params",
    "training_payload_of",
]

logger = logging.getLogger(__name__)

_OTHER_WORDS: Final = {"max_epochs": "nepochs"} | {
    name: pair.field
    for pair in TABLE
    for section, name in [pair.torch[0].split(".")]
    if len(pair.torch) == 1 and name != pair.field
}
"""Historical names of overrides, and those of this backend, by canonical field."""
_TRANSLATED: Final = {name: pair.to_canonical for pair in TABLE for name in [pair.torch[0].split(".")[1]]}


class Levels(TypedDict, total=False):
    """Where the values of a run are from, besides its overrides; each may be left out, or None."""

    arguments: Mapping[str, Any] | None
    """As overrides, of a caller whose user named them; below the flags."""
    flags: Mapping[str, Any] | None
    """Command-line flags that were passed, by field or knob; text is read as the field says."""
    file: Files | None
    """A run file with the tables of the run, or a flat file of knobs; or several, the last one strongest."""
    recipe: Recipe
    """Its name (`standard`), or a run file that is one; None: the defaults of the fields."""
    cli_defaults: Mapping[str, Any] | None
    """What the command line states without a flag, by field or knob."""
    request: Request | None
    """All of these levels, and the overrides, as a command has read them; None makes one of them."""


def create_training_payload(
    train_data_file: str | Path | None,
    output_dir: str | Path | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    **levels: Unpack[Levels],
) -> TrainingPayload:
    """Resolve the configurations of a training, and fill the legacy dictionary (CONFIG-001).

    Args:
        train_data_file: the scan, or a folder of NPZ files that are one data set; None: as the file says.
        output_dir: folder for everything the training writes; None: as a flag, the file or the command line says.
        overrides: canonical field, historical synonym or execution knob -> value.
        execution_config: resolved before, overrides reach it; None resolves it here, with the environment.
        **levels: arguments, flags, file, recipe, cli_defaults or request, see `Levels`.

    Raises:
        FileNotFoundError: there is no such data.
        DataError: neither the data nor a setting gives N; or the data contradict each other.
        ConfigError: all that is wrong with the values; or n_groups, which is required without request and recipe, is
            missing.
    """
    request = asked([ModelConfig, TrainingConfig, PyTorchExecutionConfig], overrides, levels)
    places = {"train_data_file": train_data_file, "output_dir": output_dir}
    places = settled(request, TrainingConfig, places)
    _require_n_groups(request, TrainingConfig, levels)
    with after_the_rest(request, execution_config):
        files = files_of(
            places["train_data_file"], f"Training data file not found{request.file_of('train_data_file')}"
        )
        inferred = from_data(request, files)
    request.add(ModelConfig, inferred_layer(inferred, "N"))
    request.add(TrainingConfig, inferred_layer(inferred, "nphotons"))
    return training_payload(request.answer({PyTorchExecutionConfig: execution_config}))


def training_payload_of(
    config: TrainingConfig, execution_config: PyTorchExecutionConfig | None = None
) -> TrainingPayload:
    """Take a ready configuration as it is, ask no data, and fill the legacy dictionary (CONFIG-001).

    Args:
        config: complete; it is copied.
        execution_config: resolved before; None resolves it here, with the environment.

    Raises:
        ConfigError: what is wrong with the environment, or with the two together.
    """
    return training_payload(_as_it_is(config, execution_config))


def execution_beside(
    config: TrainingConfig, execution_config: PyTorchExecutionConfig | None
) -> PyTorchExecutionConfig:
    """Resolve how a ready configuration is run; arguments and errors as of `training_payload_of`, which fills more."""
    return _as_it_is(config, execution_config)[PyTorchExecutionConfig]


def inference_payload_of(config: InferenceConfig, trained: TrainingPayload) -> InferencePayload:
    """Take a ready configuration as it is, for the model of a training whose settings are at hand.

    Args:
        config: complete, with the model as trained; it is copied.
        trained: what the training was told.

    Raises:
        ConfigError: what is wrong with the two together.
    """
    answer = _as_it_is(config, trained.execution_config)
    ready = answer[InferenceConfig]
    take_held(ready, answer)
    return InferencePayload(
        ready,
        trained.pt_data_config,
        trained.pt_model_config,
        trained.pt_training_config,
        trained.pt_inference_config,
        answer[PyTorchExecutionConfig],
        audit(answer),
        answer.sources,
    )


def _as_it_is(config: TrainingConfig | InferenceConfig, execution: PyTorchExecutionConfig | None) -> Answer:
    """A copy of ready settings, looked at together; None resolves how they are run, with the environment.

    Beside settings that are all at hand, nothing of the environment is read.
    """
    config = copy.deepcopy(config)
    held = [getattr(config, name) for name in section_of(type(config)).nested]
    ready = {**{type(one): one for one in held}, type(config): config, PyTorchExecutionConfig: execution}
    environ = None if execution is None else {}
    return Request([*ready], environ=environ, n_is_settled=config.model.N != 0).answer(ready)


def create_inference_payload(
    model_path: str | Path | None,
    test_data_file: str | Path | None,
    output_dir: str | Path | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    **levels: Unpack[Levels],
) -> InferencePayload:
    """Resolve the configurations of a reconstruction, and fill the legacy dictionary (CONFIG-001).

    Args:
        model_path: output folder of the training, or its `wts.h5.zip`. It says what the model is. None: as the file
            says.
        test_data_file: the scan, or a folder of NPZ files; None: as the file says.
        output_dir: folder for what the reconstruction writes; None: as a flag, the file or the command line says.
        overrides: canonical field, historical synonym or execution knob -> value.
        execution_config: resolved before, overrides reach it; None resolves it here, with the environment.
        **levels: arguments, flags, file, recipe, cli_defaults or request, see `Levels`.

    Raises:
        FileNotFoundError: there is no such data.
        DataError: neither the model nor the data nor a setting gives N.
        ConfigError: there is no such model; its patterns have another size than the data; n_groups, which is
            required without request and recipe, is missing; or all that is wrong with the values.
    """
    unread = unread_by_reconstructions(with_model=True)
    request = asked([ModelConfig, InferenceConfig, PyTorchExecutionConfig], overrides, levels, unread)
    places = {"model_path": model_path, "test_data_file": test_data_file, "output_dir": output_dir}
    places = settled(request, InferenceConfig, places)
    _require_n_groups(request, InferenceConfig, levels)
    with after_the_rest(request, execution_config):
        archive, files = model_and_files(
            places["model_path"], places["test_data_file"], request.file_of("test_data_file")
        )
        trained = trained_layers(archive)
        add_model(request, trained, files)
    training = resolve(TrainingConfig, [trained["training"]])
    request.fail(training.failures)
    answer = request.answer({PyTorchExecutionConfig: execution_config})
    config = completed(answer, InferenceConfig)
    as_trained = training.config
    as_trained.model = config.model
    data, _ = from_inference_config(config)
    trained_data, model, pt_training = from_training_config(as_trained)
    return InferencePayload(
        config,
        replace(data, nphotons=trained_data.nphotons),
        model,
        pt_training,
        inference_side(answer[PyTorchExecutionConfig], as_trained.batch_size * config.model.gridsize**2),
        answer[PyTorchExecutionConfig],
        audit(answer),
        answer.sources,
    )


# The request ----------------------------------------------------------------------------------------------------


def asked(
    sections: list[type],
    overrides: Mapping[str, Any] | None,
    levels: Levels,
    unread: Mapping[str, str] = {},
) -> Request:
    """The request that is given; or one of the levels, in which overrides and arguments may have other names.

    Raises:
        ConfigError: both are given.
    """
    given: dict[str, Any] = {"overrides": overrides, **levels}
    request: Request | None = given.pop("request", None)
    if request is None:
        given |= {name: _in_canonical_words(given.get(name)) for name in ("overrides", "arguments")}
        fields = {field for cls in sections for field in section_of(cls).fields}
        synonyms = {other: field for other, field in _OTHER_WORDS.items() if field in fields}
        return Request(sections, **given, synonyms=synonyms, unread=unread)
    if also := [name for name, level in given.items() if level is not None]:
        words = f"expected without {', '.join(also)}, which belong into it; got both. Drop one."
        raise ConfigError.of("request", words)
    return request


def _in_canonical_words(given: Any) -> Any:
    """Values by their names; words of this backend become the canonical ones. Anything else is left to be refused."""
    if not isinstance(given, Mapping):
        return given
    translated = _OTHER_WORDS.keys() & _TRANSLATED
    return {name: _TRANSLATED[name](value) if name in translated else value for name, value in given.items()}


def settled(request: Request, cls: type, places: Mapping[str, str | Path | None]) -> dict[str, Any]:
    """Add the files and folders that are arguments, and return those in force.

    A level above that names another one than an argument is refused; None leaves a place to the other levels.
    """
    given = {name: place for name, place in places.items() if place is not None}
    for name, place in given.items():
        asked = request.asks_for(name)
        if asked is not None and os.path.abspath(asked.value) != os.path.abspath(place):
            field = section_of(cls).labelled(name)
            words = f"given twice, as {os.fspath(place)!r} (argument) and {asked.value!r} ({asked})."
            request.fail([Failure.of(field, f"{words} Drop the latter.")])
    request.add(cls, Layer("argument", given, level=1))
    return {name: given.get(name, request.says(name)) for name in places}


@contextlib.contextmanager
def after_the_rest(request: Request, execution_config: PyTorchExecutionConfig | None) -> Iterator[None]:
    """Report what is wrong with a model or a scan together with what is wrong with the settings.

    Raises:
        FileNotFoundError, DataError, ConfigError: as inside; ConfigError wherever the settings are wrong too.
    """
    try:
        yield
    except (FileNotFoundError, DataError, ConfigError) as error:
        try:
            request.answer({PyTorchExecutionConfig: execution_config})
        except ConfigError as wrong:
            also = error.failures if isinstance(error, ConfigError) else (Failure("data", str(error)),)
            raise ConfigError([*wrong.failures, *also]) from None
        raise


def _require_n_groups(request: Request, cls: type, levels: Levels) -> None:
    """Ask for n_groups, as ever, where there is neither the request of a command nor a choice of the recipe."""
    if levels.keys() & {"request", "recipe"}:
        return
    if not request.speaks_of("n_groups") and not request.unreadable:
        field = section_of(cls).labelled("n_groups")
        rule = "expected an integer >= 1, or none for one group at every scan position"
        words = f"n_groups is required: {rule}; got nothing. Set it as an override, as a flag or in a file."
        request.fail([Failure.of(field, words)])

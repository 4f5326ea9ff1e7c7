"""The recorded settings of a training that goes on, and which of them may change."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ptycho.config.canonical import TrainingConfig
from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import absolute
from ptycho.config.reconstructions import unread_by_reconstructions
from ptycho.config.record import HELD, OF_TERMINAL, RECORD, table_of
from ptycho.config.request import Request
from ptycho.config.section import section_of, section_of_table
from ptycho.config.solver import SolverConfig
from ptycho_torch.config_factory import TrainingPayload, training_payload
from ptycho_torch.config_solver import SolverPayload, solver_payload

MAY_CHANGE: Final = frozenset(
    {
        *("nepochs", "train_data_file", "test_data_file", "output_dir"),
        *("accelerator", "strategy", "deterministic"),
        *("ddp_backend", "ddp_find_unused_parameters", "ddp_static_graph", "ddp_gradient_as_bucket_view"),
        *("num_threads", "num_workers", "pin_memory", "persistent_workers", "prefetch_factor"),
        *("gradient_clip_val", "gradient_clip_algorithm"),
        *("checkpoint_save_top_k", "save_last_checkpoint", "early_stop_patience"),
        *("enable_progress_bar", "logger_backend", "disable_mlflow", "preview_every"),
        *("inference_batch_size", "middle_trim", "pad_eval", "reconstruction_window"),
    }
)
"""Fields and knobs that take effect in a training that goes on. The others decide the network, the groups, the batch
of a step or the state of the optimizer, which the checkpoint holds; without checkpoints no training could go on again.
The scans may lie elsewhere, not be other ones."""

_SOLVER_MAY_CHANGE: Final = "the settings of [execution] and the place of the scan"

_SAID: Final = ("override", "argument", "environment", "file")
"""Origins of what somebody set."""
_PATHS: Final = section_of(TrainingConfig).paths | section_of(SolverConfig).paths
_PLACES: Final = ("training.output_dir", "training.train_data_file", "solver.output_dir", "solver.data_file")


def recorded_payload(
    record: Mapping[str, Any],
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    train_data_file: str | Path | None = None,
    said: Iterable[tuple[type, Layer]] = (),
) -> TrainingPayload:
    """The recorded settings of a training, below what is changed now; PyTorch is not loaded for them.

    Args:
        record: config.json of the run.
        folder: of the run, where it is now.
        overrides: field or knob -> value, of those in `MAY_CHANGE`.
        flags: command-line flags that were passed, by field or knob.
        train_data_file: where the scan is now; None: where it was.
        said: further settings, as layers for the classes of their sections; see `layers_of`.

    Raises:
        ConfigError: a setting is wrong, or cannot change.
    """
    request = Request.of_record(record, str(folder / RECORD), overrides=overrides, flags=flags)
    places = {"output_dir": str(folder)} | (
        {"train_data_file": str(train_data_file)} if train_data_file else {}
    )
    request.add(TrainingConfig, Layer("argument", places))
    for cls, layer in said:
        request.add(cls, layer)
    payload = training_payload(request.answer())
    refuse_fixed(dict(differences(record, payload)), folder, _without_checkpoints(payload.execution_config))
    return payload


def recorded_solver_payload(
    record: Mapping[str, Any],
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    said: Iterable[tuple[type, Layer]] = (),
) -> SolverPayload:
    """The recorded settings of a reconstruction without a model; arguments as of `recorded_payload`.

    Raises:
        ConfigError: a setting is wrong, or cannot change.
    """
    fields = section_of(SolverConfig).fields
    fixed = [name for level in (overrides, flags) for name in level or () if name in fields]
    if fixed:
        rule = f"expected the value of the run; a resumed reconstruction can change {_SOLVER_MAY_CHANGE}"
        raise ConfigError([Failure(name, f"solver.{name}: {rule}. Drop it.") for name in fixed])
    place = {"output_dir": folder} if data is None else {"data_file": data, "output_dir": folder}
    request = Request.of_record(
        record,
        str(folder / RECORD),
        overrides={**(overrides or {}), **place},
        flags=flags,
        unread=unread_by_reconstructions(with_model=False),
    )
    for cls, layer in said:
        request.add(cls, layer)
    return solver_payload(request.answer())


def refuse_fixed(
    changes: Mapping[str, Mapping[str, Any]], folder: Path, further: Iterable[Failure] = ()
) -> None:
    """Refuse changes that would take no effect, together with what else is wrong.

    Raises:
        ConfigError: there is anything.
    """
    fixed = [
        fixed_failure(name, change, f"as in {folder}", "training")
        for name, change in changes.items()
        if not _may_change(name.split(".")[-1], change)
    ]
    if failures := [*fixed, *further]:
        raise ConfigError(failures)


def _without_checkpoints(execution: PyTorchExecutionConfig) -> Iterator[Failure]:
    """What keeps a training from going on once more: the checkpoints before would stay, and not be of its end."""
    if execution.checkpoint_save_top_k == 0 and not execution.save_last_checkpoint:
        name, origins = "checkpoint_save_top_k", execution.sources
        rule = "expected another number than 0 where save_last_checkpoint is False"
        why = "since a training without checkpoints could not be resumed"
        got = f"got 0 from {origins[name]}, and False from {origins['save_last_checkpoint']}"
        yield Failure(name, f"{name}: {rule}, {why}; {got}. Keep one.")


def differences(
    record: Mapping[str, Any], payload: TrainingPayload | SolverPayload
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What differs from the record: `section.field` or knob -> what it was, what it is, and from where."""
    recorded, section = dict(record["configuration"]), table_of(record)
    held = {table: recorded.pop(table, {}) for table in HELD}
    was = {f"{table}.{name}": value for table, values in held.items() for name, value in values.items()}
    was |= {f"{section}.{name}": value for name, value in recorded.items()}
    was |= record["execution"]
    now: dict[str, Origin] = {**payload.sources, **payload.execution_config.sources}
    for name, origin in now.items():
        if name in was and not _is_same(name, was[name], origin.value):
            yield name, {"was": was[name], "now": origin.value, "from": str(origin)}


def _is_same(name: str, was: Any, now: Any) -> bool:
    """Whether two values are one; a record holds paths from the root."""
    if name.rpartition(".")[2] in _PATHS and None not in (was, now):
        return absolute(str(was)) == absolute(str(now))
    return was == now


def said_otherwise(
    record: Mapping[str, Any], payload: TrainingPayload | SolverPayload
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of what differs from the record, what somebody set; not where the run and its scan lie."""
    sources = {**payload.sources, **payload.execution_config.sources}
    for name, change in differences(record, payload):
        if sources[name].kind in _SAID and name not in _PLACES:
            yield name, change


def layers_of(payload: TrainingPayload | SolverPayload, names: Iterable[str]) -> list[tuple[type, Layer]]:
    """Settings of a payload, `section.field` or knob, as layers above a record: each is from where it was set.

    What the terminal decides is always among them.
    """
    sources = {**payload.sources, **payload.execution_config.sources}
    chosen: dict[tuple[str, str], dict[str, Origin]] = {}
    stated = () if sources[OF_TERMINAL].kind == "default" else (OF_TERMINAL,)
    for name in dict.fromkeys((*names, *stated)):
        table, _, field = (name if "." in name else f"execution.{name}").partition(".")
        chosen.setdefault((table, sources[name].kind), {})[field] = sources[name]
    return [
        (
            section_of_table(table).cls,
            Layer(
                kind,
                {name: origin.value for name, origin in origins.items()},
                {name: origin.locator for name, origin in origins.items()},
                {name: origin.raw for name, origin in origins.items() if origin.raw is not None},
                level=1,
            ),
        )
        for (table, kind), origins in chosen.items()
    ]


def _may_change(name: str, change: Mapping[str, Any]) -> bool:
    """Whether a change takes effect; a scan to validate on may lie elsewhere, not come or go."""
    return name in MAY_CHANGE and not (name == "test_data_file" and None in (change["was"], change["now"]))


def fixed_failure(name: str, change: Mapping[str, Any], why_so: str, kind: str) -> Failure:
    """Why a setting of a run that goes on cannot change.

    Args:
        name: `section.field` or knob.
        change: of it, see `differences`.
        why_so: why it has to be what it was.
        kind: of the run.
    """
    rule = f"expected {show(change['was'])}, {why_so}"
    why = f"A resumed {kind} cannot change it: drop it, or start a new run."
    return Failure(name, f"{name}: {rule}; got {show(change['now'])} from {change['from']}. {why}")

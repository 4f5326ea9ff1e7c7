"""What the `config.json` of a run holds of its settings, as the tables of a run file."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from ptycho.config.errors import VERSION_KEY, Failure, show
from ptycho.config.origins import Origin, is_origin

RECORD: Final = "config.json"
"""The file in the folder of a run that holds its settings."""
HELD: Final = ("model", "data")
"""Tables that a record has among the fields of the section that holds them."""
FOLDER: Final = "output_dir"
"""The setting that names the folder of the run itself."""
LARGEST: Final = 4 * 2**20
"""Bytes of the record of a run; none is larger."""
FOUND: Final = ("inferred", "cli-default")
"""Kinds of what the command and its data say, which no user chose."""
OF_TERMINAL: Final = "enable_progress_bar"
"""The setting of [execution] that the terminal decides where nobody sets it: that of a run, and then of its resume."""
PLACES: Final = (
    "training.train_data_file",
    "inference.model_path",
    "inference.test_data_file",
    "solver.data_file",
)
"""What a command takes as DATA and MODEL."""


def is_record(content: Mapping[str, Any]) -> bool:
    """Whether the content of a file is the `config.json` of a run, be it damaged."""
    return "configuration" in content


def table_of(record: Mapping[str, Any]) -> str:
    """The table of the settings that a sound record holds of its run: `training`, `inference` or `solver`."""
    values = record["configuration"]
    return (
        "solver" if "n_iterations" in values else "training" if "train_data_file" in values else "inference"
    )


def damages(record: Mapping[str, Any], place: str) -> list[Failure]:
    """Find the parts of a record that are damaged; messages call it by its place."""
    configuration, versions = record.get("configuration"), record.get("versions")
    parts = {name: record.get(name) for name in ("configuration", "execution", "origins")}
    parts["versions"] = {} if versions is None else versions
    if isinstance(configuration, Mapping):
        held = cast(Mapping[str, Any], configuration)
        parts |= {f"configuration.{table}": held.get(table, {}) for table in HELD}
    lists = {name: record[name] for name in ("resumed", "fingerprints") if record.get(name) is not None}
    found = [(name, part, "a mapping") for name, part in parts.items() if not isinstance(part, Mapping)]
    found += [(name, part, "a list") for name, part in lists.items() if not isinstance(part, list)]
    return [
        Failure(
            name, f"{place}: {name}: expected {kind}; got {show(part)}. The record of the run is damaged."
        )
        for name, part, kind in found
    ]


def is_left_open(name: str, origin: Origin | None) -> bool:
    """Whether a file leaves a setting (`table.name`) to the command and its data, by its origin if that is known."""
    kind = origin and origin.kind
    return name.endswith(f".{FOLDER}") or kind in FOUND or (kind == "argument" and name in PLACES)


def is_of_terminal(name: str, origin: Origin | None) -> bool:
    """Whether a value in a record (`table.name`) was decided by the terminal, by its origin if that is known."""
    is_set = origin is None or origin.kind not in ("cli-default", "default")
    return name == f"execution.{OF_TERMINAL}" and not is_set


class Recorded(NamedTuple):
    """The settings in a record that is sound."""

    tables: Mapping[str, Mapping[str, Any]]
    """Table -> name -> value."""
    origins: Mapping[str, Origin]
    """`table.name` -> where the value came from."""

    def as_file(self) -> dict[str, Any]:
        """What a run file would say of it: all but what is left to the command and its data."""
        return {
            table: {
                name: value
                for name, value in values.items()
                if not is_left_open(whole := f"{table}.{name}", self.origins.get(whole))
            }
            for table, values in self.tables.items()
        }


def settings_in(record: Mapping[str, Any]) -> Recorded:
    """The settings in a record in which `damages` found nothing."""
    values = dict(cast(Mapping[str, Any], record["configuration"]))
    held = {table: cast(Mapping[str, Any], values.pop(table)) for table in HELD if table in values}
    table = table_of(record)
    tables = {table: values, **held, "execution": cast(Mapping[str, Any], record["execution"])}
    if table != "solver":
        tables = {"model": {}, **tables}
    told = cast(Mapping[str, Any], record["origins"])
    origins = {name: Origin.from_dict(origin) for name, origin in told.items() if is_origin(origin)}
    return Recorded(tables, origins)


def version_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The version that wrote a record, as a file tells it."""
    versions = cast(Mapping[str, Any], record.get("versions") or {})
    return {VERSION_KEY: versions["ptychopinn"]} if "ptychopinn" in versions else {}

"""What a run recorded of its settings, read back as a request; the environment is not read."""

from collections.abc import Mapping
from typing import Any

from ptycho.config.errors import VERSION_KEY, ConfigError, written_by
from ptycho.config.recorded import damages, settings_in, version_of
from ptycho.config.request import Request
from ptycho.config.section import section_of, section_of_table
from ptycho.config.sources import read_saved


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
    tables, told = settings_in(record).tables, written_by(version_of(record).get(VERSION_KEY), "record")
    parts = {table: section_of_table(table).cls for table in tables}
    request = Request([*parts.values()], overrides=overrides, flags=flags, environ={})
    for table, given in tables.items():
        request.add(parts[table], read_saved("file", given, section_of(parts[table]), place, told))
    return request

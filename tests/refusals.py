"""What a refusal says."""

from collections.abc import Callable

import pytest

from ptycho.config.errors import ConfigError


def message(build: Callable[[], object]) -> str:
    """The message of the ConfigError that a call raises."""
    with pytest.raises(ConfigError) as caught:
        build()
    return str(caught.value)

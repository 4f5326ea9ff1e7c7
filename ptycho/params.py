"""The legacy parameter dictionary `cfg`, shared by callers that have no configuration object at hand.

`ptycho.config.config.update_legacy_dict` bridges the canonical configurations into it, one way (rule
CONFIG-001); execution settings never enter it (rule CONFIG-002).
"""

cfg: dict[str, object] = {}
"""Every legacy parameter by its legacy name, such as `object.big`."""


def get(name: str) -> object:
    """The value of one legacy parameter.

    Raises:
        KeyError: nothing has set this parameter.
    """
    return cfg[name]


def set(name: str, value: object) -> None:
    """Set one legacy parameter."""
    cfg[name] = value

"""What a command line comes to, for `ptycho config show`: the settings of a run that is not started."""

import logging
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.fields import text
from ptycho.config.origins import Origin
from ptycho.config.reconstructions import unread_by_reconstructions
from ptycho.config.request import Request

log = logging.getLogger(__name__)

_FIXED: Final = ("override", "argument", "inferred")
"""Kinds of origins that neither data nor a trained model changes."""


class Settled(NamedTuple):
    """The settings of a run."""

    sources: Mapping[str, Origin]
    """`section.field` -> origin."""
    execution: PyTorchExecutionConfig
    classes: tuple[type, ...]
    """The sections that the run reads, the execution settings aside."""
    open: Mapping[str, tuple[Origin, str]] = {}
    """What is not known yet: `section.field` -> where it will come from, and words for the value."""

    @property
    def unread(self) -> Collection[str]:
        """Settings that the run does nothing with."""
        if TrainingConfig in self.classes:
            return ()
        return unread_by_reconstructions(with_model=InferenceConfig in self.classes)

    @classmethod
    def of(cls, payload: Any, *classes: type) -> "Settled":
        """All that is in the payload of a run."""
        return cls(payload.sources, payload.execution_config, classes)

    @classmethod
    def without_data(
        cls, request: Request, unknown: Mapping[str, tuple[Origin, str]], *classes: type
    ) -> "Settled":
        """All that is known before there are data.

        Args:
            request: what was asked for.
            unknown: what the data, the model or the place of a run will say, if nothing stronger does: where it will
                come from, and words for it that may hold the value that is in force without it.
            *classes: the sections that the run reads.
        """
        answer = request.answer()
        for told in answer.unused:
            log.info(told)
        sources, pending = answer.sources, dict[str, tuple[Origin, str]]()
        for name, (source, words) in unknown.items():
            origin = sources[name]
            weaker = origin.kind not in _FIXED if source.kind == "inferred" else origin.kind == "default"
            if weaker:
                beaten = () if origin.kind == "default" else (origin._replace(shadowed=()), *origin.shadowed)
                pending[name] = source._replace(shadowed=beaten), words.format(text(origin.value))
        return cls(sources, answer[PyTorchExecutionConfig], classes, pending)

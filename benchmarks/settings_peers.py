"""The knobs of PyTorchExecutionConfig, written for other settings libraries the way their users would.

Every peer resolves the same inputs (arguments, environment, one file) to the same answer. None of them records where
a value came from, what it beat, or names a misspelt variable.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from functools import reduce
from importlib.metadata import version
from operator import or_
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

from benchmarks.knobs import ALL_ARGUMENTS, ANSWER, ARGUMENTS, KNOBS, PREFIX, Knob


class Peer(NamedTuple):
    """One way to resolve the knobs; what it returns has them as attributes."""

    name: str
    versions: str
    resolve: Callable[[], Any]
    """From arguments, environment and file, which is read every time."""
    construct: Callable[[], Any] | None = None
    """From arguments alone, with the environment looked at; None where another peer measures the same."""


def check(peer: Peer) -> None:
    """Refuse a peer that gives another answer.

    Raises:
        ValueError: it does; the message names the knobs.
    """
    for way in (peer.resolve, peer.construct):
        if way is not None:
            found = way()
            wrong = {name: getattr(found, name) for name in KNOBS if getattr(found, name) != ANSWER[name]}
            if wrong:
                raise ValueError(f"{peer.name}: expected the answer of all; got {wrong}.")


def _annotation(knob: Knob, scalars: Mapping[str, Any]) -> Any:
    """The type of a knob, in the scalars of a library."""
    parts = [scalars[knob.kind]] if knob.kind else []
    parts += [Literal[knob.words]] if knob.words else []
    parts += [None] if knob.default is None else []
    return reduce(or_, parts[1:], parts[0])


def _go_together(persistent_workers: bool, num_workers: int) -> None:
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers needs num_workers > 0")


def _pydantic_fields() -> dict[str, Any]:
    from annotated_types import Ge, Gt, Lt, MinLen

    scalars = {
        "flag": bool,
        "text": Annotated[str, MinLen(1)],
        "count": Annotated[int, Ge(0)],
        "positive": Annotated[int, Ge(1)],
        "least": Annotated[int, Ge(-1)],
        "rate": Annotated[float, Gt(0)],
        "share": Annotated[float, Ge(0), Lt(1)],
    }
    return {name: (_annotation(knob, scalars), knob.default) for name, knob in KNOBS.items()}


def pydantic_model(folder: Path) -> Peer:
    """A BaseModel and the short merge one would write: the floor, without a settings library."""
    import yaml
    from pydantic import BaseModel, ConfigDict, create_model, model_validator

    class Base(BaseModel):
        model_config = ConfigDict(extra="forbid")

        @model_validator(mode="after")
        def _workers(self) -> Any:
            _go_together(self.persistent_workers, self.num_workers)
            return self

    knobs = create_model("Knobs", __base__=Base, **_pydantic_fields())
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    file, start = folder / "knobs.yaml", len(PREFIX)

    def merge(below: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        merged = dict(below)
        for name, text in os.environ.items():
            if name.startswith(PREFIX):
                merged[name[start:].lower()] = text
        merged.update(arguments)
        return knobs.model_validate(merged)

    def resolve() -> Any:
        with open(file, encoding="utf-8") as stream:
            return merge(loader(stream).get_single_data(), ARGUMENTS)

    versions = f"{version('pydantic')}, PyYAML {version('PyYAML')}"
    return Peer("pydantic model, 9-line merge (YAML)", versions, resolve, lambda: merge({}, ALL_ARGUMENTS))


def bare_settings(file: Path | None = None, source: str = "") -> Any:
    """Declare a BaseSettings class that looks at arguments, environment and what a source class reads from a file."""
    import pydantic_settings
    from pydantic import create_model, model_validator

    class Base(pydantic_settings.BaseSettings):
        model_config = pydantic_settings.SettingsConfigDict(env_prefix=PREFIX, extra="forbid")

        @model_validator(mode="after")
        def _workers(self) -> Any:
            _go_together(self.persistent_workers, self.num_workers)
            return self

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> Any:
            ordered = sources["init_settings"], sources["env_settings"]
            return (*ordered, getattr(pydantic_settings, source)(settings_cls, file)) if source else ordered

    return create_model("Settings", __base__=Base, **_pydantic_fields())


def settings_yaml(folder: Path) -> Peer:
    """Bare pydantic-settings with its YAML source, as its documentation shows: what ratios refer to."""
    settings = bare_settings(folder / "knobs.yaml", "YamlConfigSettingsSource")
    plain = bare_settings()
    return Peer(
        "pydantic-settings (YAML)",
        f"{version('pydantic-settings')}, pydantic {version('pydantic')}",
        lambda: settings(**ARGUMENTS),
        lambda: plain(**ALL_ARGUMENTS),
    )


def settings_toml(folder: Path) -> Peer:
    """Bare pydantic-settings with its TOML source."""
    settings = bare_settings(folder / "knobs.toml", "TomlConfigSettingsSource")
    return Peer("pydantic-settings (TOML)", version("pydantic-settings"), lambda: settings(**ARGUMENTS))


def _dataclass(annotations: Mapping[str, Any]) -> Any:
    def check_workers(self: Any) -> None:
        _go_together(self.persistent_workers, self.num_workers)

    fields = [
        (name, annotations[name], dataclasses.field(default=knob.default)) for name, knob in KNOBS.items()
    ]
    return dataclasses.make_dataclass("Knobs", fields, namespace={"__post_init__": check_workers})


def jsonargparse(folder: Path) -> Peer:
    """A dataclass and a parser that reads environment and file; the parser is built once."""
    from jsonargparse import ArgumentParser, typing

    share = typing.restricted_number_type("Share", float, [(">=", 0), ("<", 1)])
    least = typing.restricted_number_type("Least", int, (">=", -1))
    scalars = {
        "flag": bool,
        "text": typing.NotEmptyStr,
        "count": typing.NonNegativeInt,
        "positive": typing.PositiveInt,
        "least": least,
        "rate": typing.PositiveFloat,
        "share": share,
    }
    knobs = _dataclass({name: _annotation(knob, scalars) for name, knob in KNOBS.items()})

    def parser(files: list[str]) -> Any:
        made = ArgumentParser(
            default_env=True, env_prefix="PTYCHO_EXEC", default_config_files=files, exit_on_error=False
        )
        made.add_class_arguments(knobs, None)
        return made

    with_file, without = parser([str(folder / "knobs.yaml")]), parser([])
    flags = [f"--{name}={value}" for name, value in ARGUMENTS.items()]

    def made_of(parsed: Any) -> Any:
        return knobs(**{name: parsed[name] for name in KNOBS})

    return Peer(
        "jsonargparse (YAML)",
        version("jsonargparse"),
        lambda: made_of(with_file.parse_args(flags)),
        lambda: made_of(without.parse_object(ALL_ARGUMENTS, env=True)),
    )


def hydra(folder: Path) -> Peer:
    """A structured schema, which checks types but no ranges or words, and a file that names the variables itself."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    scalars = {"flag": bool, "text": str, "rate": float, "share": float} | dict.fromkeys(
        ("count", "positive", "least"), int
    )

    def loose(knob: Knob) -> Any:
        if knob.kind and knob.words:
            return Any  # unions of scalars are not supported in dataclasses it makes objects of
        plain = scalars[knob.kind] if knob.kind else str
        return plain | None if knob.default is None else plain

    ConfigStore.instance().store("schema", _dataclass({name: loose(knob) for name, knob in KNOBS.items()}))
    GlobalHydra.instance().clear()
    initialize_config_dir(version_base=None, config_dir=str(folder))

    def composed(name: str, arguments: Mapping[str, Any]) -> Any:
        overrides = [f"{knob}={value}" for knob, value in arguments.items()]
        return OmegaConf.to_object(compose(name, overrides))

    return Peer(
        "hydra compose (YAML)",
        version("hydra-core"),
        lambda: composed("hydra_knobs", ARGUMENTS),
        lambda: composed("hydra_no_file", ALL_ARGUMENTS),
    )


def dynaconf(folder: Path) -> Peer:
    """Untyped settings with validators."""
    from dynaconf import Dynaconf, Validator

    rules: dict[str, dict[str, Any]] = {
        "flag": {"is_type_of": bool},
        "text": {"is_type_of": str, "len_min": 1},
        "count": {"is_type_of": int, "gte": 0},
        "positive": {"is_type_of": int, "gte": 1},
        "least": {"is_type_of": int, "gte": -1},
        "rate": {"is_type_of": (int, float), "gt": 0},
        "share": {"is_type_of": (int, float), "gte": 0, "lt": 1},
    }

    def rule(knob: Knob) -> dict[str, Any]:
        if knob.default is None or (knob.kind and knob.words):
            return {}  # a rule holds for one type
        return rules[knob.kind] if knob.kind else {"is_in": knob.words}

    validators = [Validator(name, default=knob.default, **rule(knob)) for name, knob in KNOBS.items()]

    def resolve(file: str | None, arguments: Mapping[str, Any]) -> Any:
        settings = Dynaconf(envvar_prefix="PTYCHO_EXEC", settings_files=[file] if file else [])
        settings.update(arguments)
        settings.validators.register(*validators)
        settings.validators.validate()
        found = SimpleNamespace(**{name: settings.get(name) for name in KNOBS})
        _go_together(found.persistent_workers, found.num_workers)
        return found

    return Peer(
        "dynaconf (YAML)",
        version("dynaconf"),
        lambda: resolve(str(folder / "knobs.yaml"), ARGUMENTS),
        lambda: resolve(None, ALL_ARGUMENTS),
    )


def typed_settings(folder: Path) -> Peer:
    """Classes of attrs with validators, loaders for file and environment, arguments as a third one."""
    import attrs
    import typed_settings as ts
    from attrs import validators as v
    from typed_settings.loaders import DictLoader

    numbers = {"count": (int, v.ge(0)), "positive": (int, v.ge(1)), "least": (int, v.ge(-1))}
    kinds: dict[str, tuple[Any, Any]] = numbers | {
        "flag": (bool, None),
        "text": (str, v.min_len(1)),
        "rate": (float, v.gt(0)),
        "share": (float, v.and_(v.ge(0), v.lt(1))),
    }

    def workers(instance: Any, _: Any, value: bool) -> None:
        _go_together(value, instance.num_workers)

    def field(name: str, knob: Knob) -> Any:
        check_value = workers if name == "persistent_workers" else kinds[knob.kind][1] if knob.kind else None
        if check_value is not None and (knob.default is None or knob.words):
            check_value = v.or_(v.instance_of((str, type(None))), check_value)
        return attrs.field(
            default=knob.default,
            validator=check_value,
            type=_annotation(knob, {kind: plain for kind, (plain, _) in kinds.items()}),
        )

    knobs = attrs.make_class("Knobs", {name: field(name, knob) for name, knob in KNOBS.items()})
    knobs.__module__ = "knobs"  # without a file: every load would parse it, in search of help texts
    converter = ts.default_converter()
    for kind, words in (("positive", ("auto",)), ("flag", ("warn",))):
        plain = kinds[kind][0]  # a union of a scalar and words has no conversion of its own
        union = _annotation(Knob(1, kind, words), {kind: plain})
        converter.register_structure_hook(
            union,
            lambda value, _, plain=plain, words=words: (
                value if value in words else converter.structure(value, plain)
            ),
        )
    environment = ts.EnvLoader(PREFIX)
    file = ts.FileLoader({"*.toml": ts.TomlFormat(None)}, [folder / "knobs.toml"])

    def load(*loaders: Any) -> Any:
        return ts.load_settings(knobs, list(loaders), converter=converter)

    return Peer(
        "typed-settings (TOML)",
        version("typed-settings"),
        lambda: load(file, environment, DictLoader(ARGUMENTS)),
        lambda: load(environment, DictLoader(ALL_ARGUMENTS)),
    )


PEERS = {
    "pydantic": pydantic_model,
    "pydantic-settings": settings_yaml,
    "pydantic-settings (TOML)": settings_toml,
    "typed-settings": typed_settings,
    "jsonargparse": jsonargparse,
    "dynaconf": dynaconf,
    "hydra-core": hydra,
}
"""Distribution -> how it resolves the knobs; each raises ModuleNotFoundError where it is not installed."""

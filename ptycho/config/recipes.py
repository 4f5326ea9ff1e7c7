"""Recipes: run files whose values stand below what anybody states, and above the defaults of the fields.

Those in `ptycho/recipes` ship with the package, and have names.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from ptycho.config import formats
from ptycho.config.errors import Failure, near, path_of, show
from ptycho.config.fields import text
from ptycho.config.files import ConfigFile, collect_files, file_or_record
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import Files
from ptycho.config.resolve import Resolution, in_force, resolve
from ptycho.config.section import Conflict
from ptycho.config.sources import Environment

STANDARD: Final = "standard"
"""The recipe of the commands."""
NONE: Final = "none"
"""In place of a recipe: the defaults of the fields."""
Recipe = str | os.PathLike[str] | None
"""The name of a recipe, or a run file; none takes the defaults of the fields."""

_UNSTATED: Final = ("recipe", "cli-default", "default")
"""Kinds of values that no user stated."""
_FOLDER: Final = Path(__file__).parents[1] / "recipes"


@cache
def recipe_names() -> tuple[str, ...]:
    """The recipes that ship with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def read_recipe(recipe: Recipe) -> list[ConfigFile]:
    """Read a recipe, by its name or from a run file; a run (folder or config.json) stands for what it recorded.

    Returns:
        The file, where there is a recipe; what is wrong with it is among the failures of its layers.

    Raises:
        ConfigError: It is neither text nor a path.
    """
    if recipe is None or (path := path_of(recipe, "recipe")) == NONE:
        return []
    if path in recipe_names():
        return [_shipped(path)]
    if formats.suffix(path) is None and os.sep not in path and not os.path.isdir(path):
        close = near(path, (*recipe_names(), NONE))
        hint = f"Did you mean {close}?" if close else f"Choose one of {', '.join(recipe_names())}."
        words = f"expected the name of a recipe, a run file or none; got {show(path)}. {hint}"
        wrong = Failure.of("recipe", words)
        return [ConfigFile(path, formats.Places(""), {}, (wrong,), kind="recipe")]
    file = file_or_record(path)
    return [(file.as_of_run() if file.is_of_run else file)._replace(kind="recipe")]


@cache
def _shipped(name: str) -> ConfigFile:
    return ConfigFile.collect(_FOLDER / f"{name}.toml")._replace(kind="recipe", title=name)


def read_files(file: Files | None, recipe: Recipe, environ: Environment) -> list[ConfigFile]:
    """Read all files of a run, as of `collect_files`, and the recipe, as of `read_recipe`, the weakest.

    Raises:
        ConfigError: What is named is no path.
    """
    return [
        *collect_files(file, environ),
        *(one._replace(variable=environ.get) for one in read_recipe(recipe)),
    ]


def suited(
    found: Mapping[type, Resolution[Any]], look: Callable[[Mapping[str, Any]], Iterable[Conflict]]
) -> dict[type, Resolution[Any]]:
    """Let a recipe give way: where its value does not go with one that somebody stated, to the nearest that does.

    Args:
        found: Class -> its section, resolved.
        look: Finds what does not go together among values that are valid by themselves.

    Returns:
        The same, with the values that gave way; their places name what for.
    """
    suited = dict(found)
    while any(layer.kind == "recipe" for one in suited.values() for layer in one.layers):
        values, origins = in_force(suited.values())
        gave_way = {cls: _given_way(one, look(values), values, origins) for cls, one in suited.items()}
        if not any(gave_way.values()):
            break
        for cls, layer in gave_way.items():
            if layer:
                section, layers = suited[cls].section, suited[cls].layers
                place = next(at for at, one in enumerate(layers) if one.kind == "recipe")
                suited[cls] = resolve(section.cls, [*layers[:place], layer, *layers[place:]])
    return suited


def _given_way(
    one: Resolution[Any],
    conflicts: Iterable[Conflict],
    values: Mapping[str, Any],
    origins: Mapping[str, Origin],
) -> Layer | None:
    """The layer to lay over the recipe of a section; each of its values gives way once."""
    changed: dict[str, Any] = {}
    places: dict[str, str] = {}
    for conflict in conflicts:
        name, other = conflict.name, conflict.other
        if name in changed or name not in one.section.fields or not {name, other} <= origins.keys():
            continue
        origin, is_stated = origins[name], origins[other].kind not in _UNSTATED
        gave_way = any(beaten.kind == "recipe" for beaten in origin.shadowed)
        if origin.kind == "recipe" and not gave_way and is_stated and conflict.instead:
            (changed[name],) = conflict.instead
            places[name] = f"{origin.locator} for {other} {text(values[other])}"
    return Layer("recipe", changed, places) if changed else None

"""A site's own Python in the node: how a name in the configuration becomes something to call.

What each kind of plug-in is called with, and what it returns, is in `interfaces`.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from aiohttp import web

from pyvospace_ngas.archive.settings.reader import ConfigurationError
from pyvospace_ngas.archive.states import COMMANDS

UserCommand: TypeAlias = Callable[[Any], Awaitable[web.StreamResponse]]  # called with a Call

EXAMPLES: Final = "pyvospace_ngas.archive.examples"

# The plug-ins of the real server's own set whose work this node does itself.
OWN_WORK: Final = frozenset(
    {
        *("ngamsGenDapi", "ngamsGenericOnlinePlugIn", "ngamsGenericOfflinePlugIn"),
        *("ngamsGenericDiskSyncPlugIn", "commandline"),
    }
)


def is_own_work(name: str) -> bool:
    """Whether a name stands for what this node does without any plug-in."""
    return not name or name.rpartition(".")[2] in OWN_WORK


def load(name: str) -> Callable[..., Any]:
    """Return the function or class that a name stands for, or raise `ConfigurationError`.

    ``package.module.thing`` is ``thing`` of ``package.module``; where that is a module itself,
    it is what has the module's own name in it (``my.plugin`` is ``plugin`` of ``my.plugin``), as
    NGAS has it.
    """
    folder, _, last = name.rpartition(".")
    for module in (name, folder):
        if module and (found := _attribute(module, last)) is not None:
            return found
    raise ConfigurationError(
        f"the plug-in {name!r} cannot be found: there is no {last!r} that could be called in a "
        f"module {name!r} or {folder!r}; is its folder in PluginsPath?"
    )


def load_of_site(name: str, folders: Sequence[Path]) -> Callable[..., Any]:
    """Return what a *client* named: only a plug-in in one of these folders, or an example.

    Nothing else is even imported. Raises `ConfigurationError`.
    """
    top = name.partition(".")[0]
    if not name.startswith(f"{EXAMPLES}."):
        spec = importlib.util.find_spec(top) if top.isidentifier() else None
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        inside = any(
            Path(place).resolve().is_relative_to(folder.resolve())
            for place in places
            if place
            for folder in folders
        )
        if not inside:
            raise ConfigurationError(f"the plug-in {name!r} is not in a folder of PluginsPath")
    return load(name)


def commands(modules: Mapping[str, str]) -> Mapping[str, UserCommand]:
    """Return a site's own commands: of each module its ``async def handle(call)``."""
    found: dict[str, UserCommand] = {}
    for name, module in modules.items():
        if name in COMMANDS:
            raise ConfigurationError(f"Commands/Command {name} is a command of the node already")
        handler = load(f"{module}.handle")
        if not inspect.iscoroutinefunction(handler):
            raise ConfigurationError(f"Commands/Command {name}: {module}.handle is not async")
        found[name] = handler
    return found


def check(names: Iterable[str]) -> None:
    """Raise `ConfigurationError` unless each of them can be found."""
    for name in names:
        load(name)


def look_in(folders: Sequence[Path]) -> None:
    """Let modules be found in these folders, before all others."""
    new = [str(each) for each in folders if str(each) not in sys.path]
    sys.path[:0] = new


def pairs(parameters: str) -> dict[str, str]:
    """Read the parameters of a plug-in, written ``name=value,name=value``."""
    found = (each.partition("=") for each in parameters.split(",") if each.strip())
    return {name.strip(): value.strip() for name, _, value in found}


async def call(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a plug-in: awaited where it is asynchronous, else in a thread, off the event loop."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _attribute(module: str, name: str) -> Callable[..., Any] | None:
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            return None
        raise ConfigurationError(f"the plug-in {module!r} needs {error.name!r}") from error
    return found if callable(found) else None

"""A site's own plug-ins for archiving and for the node's states, found when the node starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyvospace_ngas.archive import plugins
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.interfaces import ArchiveHandler
from pyvospace_ngas.archive.settings.reader import PlugIn


@dataclass(frozen=True, slots=True)
class Loaded:
    """Something to call, with the parameters that the configuration has for it."""

    name: str
    function: Callable[..., Any]
    parameters: str

    async def call(self, *arguments: object) -> Any:
        """Call it, off the event loop, with its parameters as the last argument."""
        return await plugins.call(self.function, *arguments, self.parameters)


@dataclass(frozen=True, slots=True)
class Site:
    """What a node calls of a site's own; None and nothing where there is no such thing."""

    archiving: Mapping[str, Loaded]  # by mime type
    registering: Mapping[str, Loaded]
    handlers: tuple[ArchiveHandler, ...] = ()
    online: Loaded | None = None
    offline: Loaded | None = None
    disk_sync: Loaded | None = None
    label_printer: Loaded | None = None
    service: Loaded | None = None
    cache_control: Loaded | None = None
    janitors: tuple[Loaded, ...] = ()
    log_handlers: tuple[Loaded, ...] = ()
    suspension: Loaded | None = None
    wake_up: Loaded | None = None


def load(config: NodeConfig) -> Site:
    """Find everything that the configuration names, or raise `ConfigurationError`."""
    plugins.look_in(config.server.plug_in_folders)
    plugins.check(_by_name(config))
    system = config.system
    return Site(
        archiving=_all({kind: stream.plug_in for kind, stream in config.streams.items()}),
        registering=_all(config.registering),
        handlers=tuple(_made(each) for each in config.handling.event_handlers),
        online=_one(system.online),
        offline=_one(system.offline),
        disk_sync=_one(system.disk_sync),
        label_printer=_one(system.label_printer),
        service=_one(system.service),
        cache_control=_one(config.caching.plug_in),
        janitors=_several(config.janitor.plug_ins),
        log_handlers=_several(config.log.handlers),
        suspension=_one(config.suspension.plug_in),
        wake_up=_one(config.suspension.wake_up_plug_in),
    )


def _by_name(config: NodeConfig) -> Iterator[str]:
    """Yield what is looked up when it is needed, as a request chooses it."""
    yield from config.processing.plug_ins
    if config.subscriptions.auth:
        yield config.subscriptions.auth


def _all(named: Mapping[str, PlugIn] | Mapping[str, PlugIn | None]) -> dict[str, Loaded]:
    found = {mime_type: _one(plug_in) for mime_type, plug_in in named.items()}
    return {mime_type: loaded for mime_type, loaded in found.items() if loaded is not None}


def _several(named: Iterable[PlugIn]) -> tuple[Loaded, ...]:
    return tuple(loaded for loaded in map(_one, named) if loaded is not None)


def _one(plug_in: PlugIn | None) -> Loaded | None:
    if plug_in is None or plugins.is_own_work(plug_in.name):
        return None
    return Loaded(plug_in.name, plugins.load(plug_in.name), plug_in.parameters)


def _made(plug_in: PlugIn) -> ArchiveHandler:
    try:
        handler: ArchiveHandler = plugins.load(plug_in.name)(plug_in.parameters)
    except ConfigurationError:
        raise
    except Exception as error:  # a site's own code
        raise ConfigurationError(
            f"the event handler {plug_in.name!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(handler, "handle_event", None)):
        raise ConfigurationError(f"the event handler {plug_in.name!r} has no handle_event()")
    return handler

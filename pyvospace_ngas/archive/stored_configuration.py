"""A configuration that is kept in the index, in NGAS's tables ngas_cfg and ngas_cfg_pars.

A row of ngas_cfg_pars is a parameter of a group: an attribute of the XML document, named by its
path, with the number of each element among those of its name: ``NgamsCfg.Server[1].PortNo``,
``NgamsCfg.StorageSets[1].StorageSet[2].MainDiskSlotId``. A row of ngas_cfg is a configuration: a
name and its groups, with commas between; what stands in two groups is taken from the later one.
So nodes may share one group and have a small one each for what is their own.

Where the index is, a node must know before: that is read from a file, which needs no more than
its element ``Db``. It is not kept in the index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from lxml import etree

from pyvospace_ngas.archive import configuration, database, readonly
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.readonly import Fetch
from pyvospace_ngas.archive.steps import Many, Script, Statement

Place: TypeAlias = tuple[tuple[str, int], ...]  # elements with their numbers, below the root

ROOT: Final = "NgamsCfg"
DB: Final = "Db"
LONGEST_NAME: Final = 32  # ngas_cfg.cfg_name, and of a group
LONGEST_PARAMETER: Final = 128  # ngas_cfg_pars.cfg_par
LONGEST_VALUE: Final = 255  # ngas_cfg_pars.cfg_val
PARAMETER: Final = re.compile(rf"{ROOT}\.((?:\w+\[[1-9]\d{{0,4}}\]\.)*)(\w+)", re.ASCII)
STEP: Final = re.compile(r"(\w+)\[(\d+)\]\.", re.ASCII)


async def load(file: Path, name: str) -> NodeConfig:
    """Read the configuration ``name`` from the index that ``file`` tells of."""
    root = configuration.root_of(configuration.content(file))
    async with database.opened(configuration.place_of(root)) as index:
        found = await fetch(index.fetch, name)
    return _told(root, found, file, name)


async def look_at(file: Path, name: str) -> NodeConfig:
    """Read it as `load` does, from an index that must be there and stays as it is."""
    root = configuration.root_of(configuration.content(file))
    async with readonly.opened(configuration.place_of(root)) as index:
        found = await fetch(index, name)
    return _told(root, found, file, name)


def _told(
    root: etree._Element, parameters: Mapping[str, str], file: Path, name: str
) -> NodeConfig:
    """Read a configuration that lies where ``root`` says."""
    found = document(parameters)
    for element in found.findall(DB):
        found.remove(element)
    found.extend(root.findall(DB))
    return configuration.read(found, file, name)


async def store(file: Path, name: str) -> int:
    """Keep what is in ``file`` as the configuration ``name``; return how many parameters it has.

    Where there was one of that name, it is replaced. A file that no node could use is refused.
    """
    content = configuration.content(file)
    config = configuration.parse(content)
    found = dict(parameters(configuration.root_of(content)))
    _check(name, found)
    async with database.opened(config.db) as index:
        await index.run(_store(name, found))
    return len(found)


async def fetch(index: Fetch, name: str) -> dict[str, str]:
    """Return the parameters of a configuration."""
    rows = await index("select cfg_par_group_ids from ngas_cfg where cfg_name = $1", name)
    if not rows:
        raise ConfigurationError(
            f"there is no configuration {name!r} in the index; "
            "ngas_node store-configuration -cfg FILE NAME puts one there"
        )
    found: dict[str, str] = {}
    for group in str(rows[0][0]).split(","):
        pairs = await index(
            "select cfg_par, cfg_val from ngas_cfg_pars where cfg_group_id = $1", group.strip()
        )
        found.update((str(parameter), str(value or "")) for parameter, value in pairs)
    return found


def parameters(root: etree._Element) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a document, without those that tell where the index is."""
    for child, step in _numbered(root):
        if child.tag != DB:
            yield from _parameters(child, f"{ROOT}.{step}")
    yield from ((f"{ROOT}.{name}", str(value)) for name, value in root.items())


def document(found: Mapping[str, str]) -> etree._Element:
    """Return the document that parameters describe."""
    root = etree.Element(ROOT)
    elements: dict[Place, etree._Element] = {(): root}
    places = sorted((*_place(parameter), value) for parameter, value in found.items())
    for place, attribute, value in places:
        _element(elements, place).set(attribute, value)
    return root


def _parameters(element: etree._Element, path: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{path}.{name}", str(value)) for name, value in element.items())
    for child, step in _numbered(element):
        yield from _parameters(child, f"{path}.{step}")


def _numbered(element: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    numbers: dict[str, int] = {}
    for child in element:
        if isinstance(child.tag, str):  # and no comment
            numbers[child.tag] = numbers.get(child.tag, 0) + 1
            yield child, f"{child.tag}[{numbers[child.tag]}]"


def _place(parameter: str) -> tuple[Place, str]:
    found = PARAMETER.fullmatch(parameter)
    if found is None:
        raise ConfigurationError(
            f"the parameter {parameter!r} in the index is not named as in {ROOT}.Server[1].PortNo"
        )
    return tuple((name, int(number)) for name, number in STEP.findall(found[1])), found[2]


def _element(elements: dict[Place, etree._Element], place: Place) -> etree._Element:
    if place not in elements:
        parent = _element(elements, place[:-1])
        elements[place] = etree.SubElement(parent, place[-1][0])
    return elements[place]


def _check(name: str, found: Mapping[str, str]) -> None:
    if not name or len(name) > LONGEST_NAME or "," in name:
        raise ConfigurationError(
            f"a configuration's name has 1 to {LONGEST_NAME} characters and no comma"
        )
    for parameter, value in found.items():
        if len(parameter) > LONGEST_PARAMETER or len(value) > LONGEST_VALUE:
            raise ConfigurationError(
                f"{parameter} does not fit into the index, which takes {LONGEST_PARAMETER} "
                f"characters of a name and {LONGEST_VALUE} of a value"
            )


def _store(name: str, found: Mapping[str, str]) -> Script[None]:
    yield Statement("delete from ngas_cfg where cfg_name = $1", (name,))
    yield Statement("delete from ngas_cfg_pars where cfg_group_id = $1", (name,))
    yield Statement(
        "insert into ngas_cfg (cfg_name, cfg_par_group_ids) values ($1, $2)", (name, name)
    )
    yield Many(
        "insert into ngas_cfg_pars (cfg_group_id, cfg_par, cfg_val) values ($1, $2, $3)",
        [(name, parameter, value) for parameter, value in found.items()],
    )

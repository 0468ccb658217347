"""Typed values of NGAS's XML attributes. Problems are collected: one run names them all."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lxml import etree

DURATION: Final = re.compile(r"(?:(\d{1,5})T)?(\d{1,2}):(\d{2}):(\d{2}(?:\.\d+)?)")
LONGEST_HOST_ID: Final = 32  # ngas_hosts.host_id


class ConfigurationError(Exception):
    """The file cannot be used; the text names element and attribute, a line for each problem."""


@dataclass(frozen=True, slots=True)
class PlugIn:
    """A Python module's function or class named by the configuration, and its parameters."""

    name: str
    parameters: str = ""


class Reader:
    """Reads one document. An element is named by its path below the root."""

    def __init__(self, root: etree._Element) -> None:
        self.root = root
        self.problems: list[str] = []

    def finish(self) -> None:
        """Raise `ConfigurationError` with all that was wrong."""
        if self.problems:
            raise ConfigurationError("\n".join(self.problems))

    def complain(self, element: str, text: str) -> None:
        """Record a problem."""
        self.problems.append(f"NgamsCfg/{element}: {text}")

    def text(self, element: str, name: str, default: str | None = None) -> str:
        """Return an attribute; without a default it must be there."""
        found = self.root.find(element)
        value = None if found is None else found.get(name)
        if value is not None and value.strip():
            return str(value).strip()
        if default is None:
            self.complain(element, f"the attribute {name} is missing")
            return ""
        return default

    def number(self, element: str, name: str, default: int, *, least: int = 0) -> int:
        """Return a whole number."""
        value = self.text(element, name, str(default))
        if value.isascii() and value.isdigit() and int(value) >= least:
            return int(value)
        self.complain(element, f"{name}={value!r} must be a whole number, {least} or more")
        return default

    def flag(self, element: str, name: str, *, default: bool) -> bool:
        """Return a switch."""
        value = self.text(element, name, str(int(default)))
        if value not in {"0", "1"}:
            self.complain(element, f"{name}={value!r} must be 0 or 1")
        return value == "1"

    def seconds(self, element: str, name: str, default: float) -> float:
        """Return a time, written ``ddTHH:MM:SS`` or as a number of seconds."""
        value = self.text(element, name, str(default))
        if found := DURATION.fullmatch(value):
            days, hours, minutes, seconds = found.groups(default="0")
            return (int(days) * 24 + int(hours)) * 3600 + int(minutes) * 60 + float(seconds)
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            return float(value)
        self.complain(
            element, f"{name}={value!r} must be a time as ddTHH:MM:SS, or a number of seconds"
        )
        return default

    def words(self, element: str, name: str, separator: str = ",") -> tuple[str, ...]:
        """Return a list; empty entries do not count."""
        found = (each.strip() for each in self.text(element, name, "").split(separator))
        return tuple(each for each in found if each)

    def folder(self, element: str, name: str, base: Path, default: str = "") -> Path | None:
        """Return a path, below ``base`` where it is relative; None where it is not given."""
        text = self.text(element, name, default)
        return base / text if text else None

    def elements(self, path: str) -> Iterator[etree._Element]:
        """Yield the elements at a path."""
        yield from self.root.iterfind(path)

    def table(self, path: str, key: str, value: str) -> dict[str, str]:
        """Return two attributes of repeated elements; both must be there, the key once."""
        table: dict[str, str] = {}
        for found in self.elements(path):
            name, content = attribute(found, key), attribute(found, value)
            if not name or not content:
                self.complain(path, f"needs {key} and {value}")
            elif name in table:
                self.complain(path, f"{key}={name!r} is there twice")
            table[name] = content
        return table

    def plug_in(self, element: str, name: str, parameters: str) -> PlugIn | None:
        """Return the plug-in that an attribute names."""
        found = self.text(element, name, "")
        return PlugIn(found, self.text(element, parameters, "")) if found else None

    def plug_ins(self, path: str) -> tuple[PlugIn, ...]:
        """Return the plug-ins of repeated elements, in their order."""
        found = tuple(
            PlugIn(attribute(each, "Name"), attribute(each, "PlugInPars"))
            for each in self.elements(path)
        )
        if any(not each.name for each in found):
            self.complain(path, "the attribute Name is missing")
        return found

    def names_of(self, found: etree._Element, path: str, child: str) -> tuple[str, ...]:
        """Return the Name of each child of one of repeated elements."""
        names = tuple(attribute(each, "Name") for each in found.iterfind(child))
        if not all(names):
            self.complain(f"{path}/{child}", "the attribute Name is missing")
        return names

    def secret(self, path: str, text: str) -> str:
        """Return what base64 hides from a glance."""
        try:
            return base64.b64decode(text, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            self.complain(path, "Password must be base64 of the password, or its hash")
            return ""


def attribute(element: etree._Element, name: str) -> str:
    """Return an attribute without the space around it; "" where it is missing."""
    return str(element.get(name, "")).strip()

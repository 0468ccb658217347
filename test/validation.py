"""Checks documents against the project's schemas, and the IVOA's where their files are at hand.

The environment variable ``IVOA_SCHEMAS`` says where those are, if not beside the project.
"""

import os
from functools import cache
from pathlib import Path

from lxml import etree

_HERE = Path(__file__).resolve().parent
_OWN = _HERE / "schemas"
_BESIDE = _HERE.parent.parent / "shared" / "spec" / "xsd" / "offline"
IVOA = Path(os.environ.get("IVOA_SCHEMAS", _BESIDE))
EXAMPLES = IVOA.parent.parent / "examples"


def valid(body: bytes | str) -> None:
    """Raise an AssertionError, with the reasons, unless ``body`` is valid for its kind."""
    document = etree.fromstring(body.encode() if isinstance(body, str) else body)
    for schema in _schemas(etree.QName(document).namespace or ""):
        if not schema.validate(document):
            reasons = "; ".join(str(entry) for entry in schema.error_log)
            raise AssertionError(f"{reasons}\n{etree.tostring(document, encoding='unicode')}")


def _schemas(namespace: str) -> list[etree.XMLSchema]:
    if "VOSICapabilities" in namespace:
        return [_load(_OWN / "capabilities-own.xsd"), *_ivoa("driver-vosi.xsd")]
    if "VOSIAvailability" in namespace:
        return [_load(_OWN / "availability-own.xsd"), *_ivoa("driver-vosi.xsd")]
    if "UWS" in namespace:
        return [_load(_OWN / "uws11-own.xsd"), *_ivoa("driver-uws-vospace.xsd")]
    return [_load(_OWN / "vospace21-own.xsd"), *_ivoa("driver-uws-vospace.xsd")]


def _ivoa(name: str) -> list[etree.XMLSchema]:
    return [_load(IVOA / name)] if IVOA.is_dir() else []


@cache
def _load(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path))

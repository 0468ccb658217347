"""Views of our own: containers as archives, both ways, and the headers of FITS files."""

from enum import StrEnum
from functools import lru_cache
from typing import Final

from pyvospace_ngas.errors import InvalidArgument, ViewNotSupported
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.standard import CORE, EXPORT_VIEWS, IMPORT_VIEWS, TYPE
from pyvospace_ngas.model.transfer import View
from pyvospace_ngas.model.uri import Space

PACKAGE: Final = "vos://cadc.nrc.ca~vospace/CADC/std/Pkg-1.0"  # the CADC's; a parameter says which
FORMAT: Final = CORE + "format"


class Form(StrEnum):
    """What a view of ours is, by the fragment of its URI. The words are stored."""

    TAR = "tar"
    TAR_GZ = "tar.gz"
    ZIP = "zip"
    FITS_HEADER = "fitsheader"

    @property
    def media_type(self) -> str:
        """Return the Content-Type of what is sent in this form."""
        return _MEDIA_TYPES[self]

    @property
    def suffix(self) -> str:
        """Return what a file of this form is called, behind the node's name."""
        return ".txt" if self is Form.FITS_HEADER else f".{self}"


ARCHIVES: Final = (Form.TAR, Form.TAR_GZ, Form.ZIP)
_MEDIA_TYPES: Final = {
    Form.TAR: "application/x-tar",
    Form.TAR_GZ: "application/gzip",
    Form.ZIP: "application/zip",
    Form.FITS_HEADER: "text/plain; charset=utf-8",
}
_PACKAGES: Final = {
    "application/x-tar": Form.TAR,
    "application/tar": Form.TAR,
    "application/gzip": Form.TAR_GZ,
    "application/x-gzip": Form.TAR_GZ,
    "application/x-gtar": Form.TAR_GZ,
    "application/x-compressed-tar": Form.TAR_GZ,
    "application/zip": Form.ZIP,
    "application/x-zip-compressed": Form.ZIP,
}
_FITS_SUFFIXES: Final = (".fits", ".fit", ".fts")
_FITS_TYPES: Final = frozenset({"application/fits", "image/fits"})


def uri(form: Form, space: Space) -> str:
    """Return the URI of a view of this space: ``ivo://AUTHORITY/NAME/views#FORM``."""
    return f"{space.identifier}/views#{form}"


def archive_uris(space: Space) -> tuple[str, ...]:
    """Return every view that a container can be sent and fetched in."""
    return (*(uri(form, space) for form in ARCHIVES), PACKAGE)


def accepted(space: Space) -> tuple[str, ...]:
    """Return every view that this space takes bytes in."""
    return (*IMPORT_VIEWS, *archive_uris(space))


def provided(space: Space) -> tuple[str, ...]:
    """Return every view that this space gives bytes in."""
    return (*EXPORT_VIEWS, *archive_uris(space), uri(Form.FITS_HEADER, space))


def form_of(view: View | None, space: Space) -> Form | None:
    """Return which of our own views is asked for, ``None`` for any other.

    Raises `InvalidArgument` for a package in a format that we do not write.
    """
    if view is None:
        return None
    if view.uri == PACKAGE:
        wanted = dict(view.params).get(FORMAT, _MEDIA_TYPES[Form.TAR]).strip().lower()
        if wanted not in _PACKAGES:
            raise InvalidArgument(f"{FORMAT} {wanted[:80]!r} of {PACKAGE}")
        return _PACKAGES[wanted]
    return next((form for form in Form if uri(form, space) == view.uri), None)


def is_fits(node: Node) -> bool:
    """Tell whether ``node`` is a FITS file, by its type or by its name."""
    if not node.type.holds_data:
        return False
    said = node.props.get(TYPE, "").partition(";")[0].strip().lower()
    return said in _FITS_TYPES or node.name.lower().endswith(_FITS_SUFFIXES)


def of(node: Node, space: Space) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the views that ``node`` takes bytes in, and those that it gives them in.

    ``None`` on a Node and on a LinkNode, where the IVOA's schema has no room for any.
    """
    if node.type is NodeType.CONTAINER:
        return _of_containers(space)
    if not node.type.holds_data:
        return None
    return _of_fits(space) if is_fits(node) else _OF_DATA


_OF_DATA: Final = (IMPORT_VIEWS, EXPORT_VIEWS)


@lru_cache(maxsize=64)
def _of_containers(space: Space) -> tuple[tuple[str, ...], tuple[str, ...]]:
    archives = archive_uris(space)
    return (*IMPORT_VIEWS, *archives), archives


@lru_cache(maxsize=64)
def _of_fits(space: Space) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return IMPORT_VIEWS, (*EXPORT_VIEWS, uri(Form.FITS_HEADER, space))


def check_export(node: Node, form: Form, shown: object) -> None:
    """Raise `ViewNotSupported` unless ``node``, ``shown`` to a client, can be given so."""
    fits = form is Form.FITS_HEADER
    if not (is_fits(node) if fits else node.type is NodeType.CONTAINER):
        raise ViewNotSupported(f"{form} {shown} is a {node.type.qname} that has no such view")


def check_import(node: Node, form: Form, shown: object) -> None:
    """Raise `ViewNotSupported` unless an archive can be unpacked into ``node``."""
    if form not in ARCHIVES or node.type is not NodeType.CONTAINER:
        raise ViewNotSupported(f"{form} {shown} is a {node.type.qname} that takes no such view")

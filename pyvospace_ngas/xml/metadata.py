"""What the service as a whole accepts, provides and contains."""

from collections.abc import Iterable, Mapping
from typing import Final

from pyvospace_ngas.model import standard
from pyvospace_ngas.model import views as model
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.xml.escaping import VOS, XSI, attribute

_ROOT: Final = f'xmlns:vos="{VOS}" xmlns:xsi="{XSI}"'


def protocols(accepts: Iterable[str] = ()) -> str:
    """Return the protocols that the service serves, and those it can use as a client."""
    served = (*standard.GET_PROTOCOLS, *standard.PUT_PROTOCOLS)
    return _document("protocols", "protocol", {"accepts": accepts, "provides": served})


def views(space: Space) -> str:
    """Return the views that bytes can be sent and fetched in."""
    lists = {"accepts": model.accepted(space), "provides": model.provided(space)}
    return _document("views", "view", lists)


def properties(contains: Iterable[str]) -> str:
    """Return the properties that clients may set, those the service sets, and those in use."""
    lists = {
        "accepts": standard.SETTABLE,
        "provides": standard.READ_ONLY,
        "contains": contains,
    }
    return _document("properties", "property", lists)


def _document(root: str, item: str, lists: Mapping[str, Iterable[str]]) -> str:
    parts = (
        f"<vos:{name}>"
        + "".join(f'<vos:{item} uri="{attribute(uri)}"/>' for uri in uris)
        + f"</vos:{name}>"
        for name, uris in lists.items()
    )
    return f"<vos:{root} {_ROOT}>{''.join(parts)}</vos:{root}>"

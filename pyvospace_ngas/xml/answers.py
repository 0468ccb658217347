"""What a space server answers, as its clients read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lxml import etree

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.documents import LARGEST, NodeDocument, moment
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.transfer import Transfer
from pyvospace_ngas.model.uri import node_of
from pyvospace_ngas.xml.escaping import UWS, XLINK
from pyvospace_ngas.xml.nodes import described, node_type
from pyvospace_ngas.xml.parsing import boolean, content, is_nil, parse, vos
from pyvospace_ngas.xml.transfers import transfer_of
from pyvospace_ngas.xml.vosi import VOSI_CAPABILITIES

MOST_MARKUP: Final = 10_000_000
_HREF: Final = f"{{{XLINK}}}href"
_NODES: Final = vos("nodes")
_NODE: Final = vos("node")
_TARGET: Final = vos("target")


@dataclass(frozen=True, slots=True)
class JobDocument:
    """A job as a server shows it. ``message`` is the fault's name as error summaries write it."""

    id: str
    phase: Phase
    owner: str | None = None
    run_id: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    destruction: datetime | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    transfer: Transfer | None = None


def read_node_document(body: bytes) -> NodeDocument:
    """Return the node that a server shows, with the children that it lists."""
    return _node(parse(body, "node", largest=LARGEST, most_markup=MOST_MARKUP))


def read_job(body: bytes) -> JobDocument:
    """Return the job that a server shows."""
    root = parse(body, "job", UWS)
    transfer = root.find(f"{_uws('jobInfo')}/{vos('transfer')}")
    return JobDocument(
        id=_text(root, "jobId") or "",
        phase=_phase(_text(root, "phase")),
        owner=_text(root, "ownerId"),
        run_id=_text(root, "runId"),
        created=_time(root, "creationTime"),
        started=_time(root, "startTime"),
        ended=_time(root, "endTime"),
        destruction=_time(root, "destruction"),
        results={
            result.get("id", ""): result.get(_HREF, "")
            for result in root.iterfind(f"{_uws('results')}/{_uws('result')}")
        },
        message=_text(root, f"errorSummary/{_uws('message')}"),
        transfer=None if transfer is None else transfer_of(transfer),
    )


def read_jobs(body: bytes) -> list[JobDocument]:
    """Return the jobs of a list, as far as a list tells of them."""
    root = parse(body, "jobs", UWS, largest=LARGEST, most_markup=MOST_MARKUP)
    return [
        JobDocument(
            id=entry.get("id", ""),
            phase=_phase(_text(entry, "phase")),
            owner=_text(entry, "ownerId"),
            run_id=_text(entry, "runId"),
            created=_time(entry, "creationTime"),
        )
        for entry in root.iterfind(_uws("jobref"))
    ]


def read_capabilities(body: bytes) -> dict[str, str]:
    """Return the first URL of each capability, by its standard id."""
    root = parse(body, "capabilities", VOSI_CAPABILITIES)
    found: dict[str, str] = {}
    for capability in root.iterfind("capability"):
        url = capability.findtext("interface/accessURL", "").strip()
        if url:
            found.setdefault(capability.get("standardID", ""), url)
    return found


def _node(element: etree._Element) -> NodeDocument:
    uri = element.get("uri", "")
    found, fixed = described(element)
    type_ = node_type(element) or NodeType.NODE
    target = element.find(_TARGET) if type_ is NodeType.LINK else None
    return NodeDocument(
        uri=uri,
        path=node_of(uri),
        type=type_,
        properties=found,
        read_only=fixed,
        target=None if target is None else content(target).strip(),
        busy=boolean(element.get("busy"), "busy"),
        children=tuple(
            _node(child)
            for nodes in element.iterchildren(_NODES)
            for child in nodes.iterchildren(_NODE)
        ),
    )


def _uws(name: str) -> str:
    return f"{{{UWS}}}{name}"


def _text(parent: etree._Element, name: str) -> str | None:
    element = parent.find(_uws(name))
    return None if element is None or is_nil(element) else content(element).strip() or None


def _time(parent: etree._Element, name: str) -> datetime | None:
    said = _text(parent, name)
    return None if said is None else moment(said)


def _phase(said: str | None) -> Phase:
    try:
        return Phase(said or "")
    except ValueError:
        raise InvalidArgument("the job is in no phase that there is") from None

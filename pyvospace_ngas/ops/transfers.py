"""Negotiation of pushes and pulls: which node, which storage servers, until when."""

import random
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from pyvospace_ngas.db import branches, jobs, nodes, paths, servers
from pyvospace_ngas.db.connect import Connection, transaction
from pyvospace_ngas.errors import (
    ContainerNotFound,
    DuplicateNode,
    InvalidArgument,
    InvalidURI,
    NodeBusy,
    NodeNotFound,
    PermissionDenied,
    ServiceUnavailable,
    ViewNotSupported,
)
from pyvospace_ngas.model import views
from pyvospace_ngas.model.access import (
    Identity,
    check_unlocked,
    may_read,
    may_write,
    parent_for_writing,
    reach,
)
from pyvospace_ngas.model.condition import Condition, condition, etag
from pyvospace_ngas.model.endpoint import Endpoint, sign
from pyvospace_ngas.model.job import THIRD_PARTY, Event, Job, Kind
from pyvospace_ngas.model.node import NULL_ID, USUAL_DATA, Node, NodeType
from pyvospace_ngas.model.properties import inherited, merged
from pyvospace_ngas.model.standard import DEFAULT_VIEW, HTTP_PUT, HTTPS_PUT, PUBLIC_SHARE
from pyvospace_ngas.model.transfer import (
    Direction,
    Protocol,
    Transfer,
    callable_endpoints,
    negotiate,
)
from pyvospace_ngas.model.uri import AUTO, NULL, NodePath, Space
from pyvospace_ngas.model.views import Form
from pyvospace_ngas.ops import quotas

MOST_LINKS: Final = 20  # followed one after the other, then it is taken for a circle
MOST_SERVERS: Final = 3  # storage servers that one transfer is offered
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Offer:
    """What both sides of a negotiation need to know of this space."""

    space: Space
    lifetime: int  # seconds that endpoints are good for


@dataclass(frozen=True, slots=True)
class _Target:
    node_id: int
    path: NodePath
    made: bool = False  # the service chose the name
    fresh: Node | None = None  # the node, if it was made for this transfer


def kind_of(transfer: Transfer, space: Space) -> Kind:
    """Return what kind of job ``transfer`` is; `OperationNotSupported`, `InvalidArgument`."""
    match transfer.known_direction:
        case Direction.PUSH_TO:
            return Kind.PUSH
        case Direction.PULL_FROM:
            return Kind.PULL
        case Direction.PULL_TO:
            return Kind.PULL_TO
        case Direction.PUSH_FROM:
            return Kind.PUSH_FROM
        case None:
            if not transfer.direction.startswith("vos:"):
                raise InvalidArgument(
                    f"direction {transfer.direction[:80]!r} is neither one of the four"
                    f" directions nor a URI such as {space.uri(NodePath(('home',)))}"
                )
            return Kind.MOVE if transfer.keep_bytes is False else Kind.COPY


def overwrites(transfer: Transfer, space: Space) -> bool:
    """Tell whether the parameter ``ivo://AUTHORITY#overwrite`` is true."""
    return _is_true(transfer, space.own("overwrite"))


def is_exact(transfer: Transfer, space: Space) -> bool:
    """Tell whether the parameter ``ivo://AUTHORITY#exact`` is true.

    The destination then is the node's own new name, also where a container has that name already.
    """
    return _is_true(transfer, space.own("exact"))


def _is_true(transfer: Transfer, names: Collection[str]) -> bool:
    for uri, value in transfer.params:
        if uri in names:
            if value.strip() not in ("true", "false"):
                raise InvalidArgument(f"{uri} is true or false, not {value!r}")
            return value.strip() == "true"
    return False


async def offer(db: Connection, job: Job, transfer: Transfer, who: Identity, terms: Offer) -> None:
    """Negotiate a push or pull inside the caller's transaction and store what was promised.

    The job must be in QUEUED and goes to EXECUTING; any refusal is raised.
    """
    pushing = job.kind is Kind.PUSH
    asked = condition(job.if_match, job.if_none_match)
    direction = Direction.PUSH_TO if pushing else Direction.PULL_FROM
    form = views.form_of(transfer.view, terms.space)
    wanted = negotiate(transfer if form is None else replace(transfer, view=None), direction)
    path = terms.space.parse(transfer.target)
    if not pushing:
        target = await _pull_target(db, who, path, terms.space, form)
    elif form is None:
        target = await _push_target(db, who, path, terms.space, asked)
    else:
        target = await _unpack_target(db, who, path, terms.space, form, asked)
    chosen = await _servers(db)
    if not chosen:
        raise ServiceUnavailable("no storage server is running; try again later")
    uri = terms.space.uri(target.path)
    results = [("dataNode", uri), *([("target", uri)] if target.made else [])]
    if pushing:
        await _hold(db, job, target)
    shared = all(protocol.uri == PUBLIC_SHARE for protocol in wanted)
    await jobs.negotiated(
        db,
        job.id,
        target.node_id,
        results,
        [replace(protocol, endpoint=address) for protocol in wanted for address in chosen],
        # A share is good for as long as its job is kept, and its job has nothing to wait for.
        job.destruction if shared and job.destruction is not None else _deadline(terms),
        form,
    )
    if shared:
        await jobs.advance(db, job.id, Event.FINISH)


async def promise(
    db: Connection, job: Job, node: Node, path: NodePath, terms: Offer
) -> Job | None:
    """Store a push, negotiated at once, to a node that the caller has just made there.

    Nothing has to be checked: the node is the caller's, and of nobody else's concern yet. ``None``
    while no storage server is running: who asks for a transfer is told then.
    """
    addresses = await _servers(db)
    if not addresses:
        return None
    return await jobs.insert_negotiated(
        db,
        replace(
            job,
            node_id=node.id,
            results=[("dataNode", terms.space.uri(path))],
            protocols=[
                Protocol(HTTPS_PUT if address.startswith("https:") else HTTP_PUT, address)
                for address in addresses
            ],
            deadline=_deadline(terms),
        ),
    )


async def _servers(db: Connection) -> list[str]:
    """Return some of the storage servers that are alive, in any order."""
    addresses = await servers.live(db)
    return random.sample(addresses, min(MOST_SERVERS, len(addresses)))


def _deadline(terms: Offer) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=terms.lifetime)


async def accept(
    db: Connection, job: Job, transfer: Transfer, who: Identity, space: Space
) -> None:
    """Check a pullToVoSpace or pushFromVoSpace, and store for a storage server what is to be done.

    The job stays in QUEUED; any refusal is raised. Nobody has us call others without a log-in.
    """
    if who.user is None:
        raise PermissionDenied("the service calls other servers for its users only: log in")
    pulling = job.kind is Kind.PULL_TO
    direction = Direction.PULL_TO if pulling else Direction.PUSH_FROM
    usable = callable_endpoints(transfer, direction)
    path = space.parse(transfer.target)
    if pulling:
        asked = condition(job.if_match, job.if_none_match)
        target = await _push_target(db, who, path, space, asked)
        await _hold(db, job, target)
    else:
        target = await _pull_target(db, who, path, space, None)
    uri = space.uri(target.path)
    results = [("dataNode", uri), *([("target", uri)] if target.made else [])]
    await jobs.accepted(db, job.id, target.node_id, results, usable)


def endpoints(job: Job, key: bytes) -> list[Protocol]:
    """Return the protocols of a job with their endpoints: ours are signed (decision 16)."""
    if job.kind in THIRD_PARTY:
        return list(job.protocols)
    if job.deadline is None or job.node_id is None:
        return []
    method = "PUT" if job.kind is Kind.PUSH else "GET"
    endpoint = Endpoint(job.id, method, job.node_id, job.deadline, job.size, job.view)
    token = sign(endpoint, key)
    name = dict(job.results).get("dataNode", "").rpartition("/")[2]
    if job.view is not None:
        name += views.Form(job.view).suffix
    return [
        replace(protocol, endpoint=f"{protocol.endpoint}/files/{token}/{name}")
        for protocol in job.protocols
    ]


async def _hold(db: Connection, job: Job, target: _Target) -> None:
    """Hold the room that was announced, and a new node to what it is if anything was asked."""
    await quotas.reserve(db, job.id, target.node_id, job.size)
    if target.fresh is not None and (job.if_match, job.if_none_match) != (None, None):
        await jobs.set_match(db, job.id, etag(target.fresh))


async def _push_target(
    db: Connection, who: Identity, path: NodePath, space: Space, asked: Condition
) -> _Target:
    """Return the node for the bytes, which is as ``asked``, or is made if none was asked for."""
    if path.name == NULL:
        return _Target(NULL_ID, path)
    if path.name == AUTO:
        asked.check(None)
        return await _new_child(db, who, path.parent)
    for _ in range(_TRIES):
        path, chain = await _followed(db, who, path, space, ContainerNotFound)
        if len(chain) > len(path.parts):
            node = reach(chain, path, who, ContainerNotFound)
            _check_condition(who, node, path, asked)
            if node.type is NodeType.CONTAINER:
                return await _new_child(db, who, path)
            await _check_overwrite(db, node, path)
            return _Target(node.id, path)
        try:
            made = await _new_node(db, who, path)
            asked.check(None)
            return made
        except DuplicateNode:
            continue  # made by somebody else between the two statements: look again
    raise NodeBusy(path)


async def _unpack_target(
    db: Connection, who: Identity, path: NodePath, space: Space, form: Form, asked: Condition
) -> _Target:
    """Return the container that an archive is to be unpacked into; it must exist."""
    path, chain = await _followed(db, who, path, space, ContainerNotFound)
    try:
        node = reach(chain, path, who, ContainerNotFound)
    except NodeNotFound as error:
        raise ContainerNotFound(*error.args) from None
    _check_condition(who, node, path, asked)
    check_unlocked(node, path)
    views.check_import(node, form, path)
    return _Target(node.id, path)


def _check_condition(who: Identity, node: Node, path: NodePath, asked: Condition) -> None:
    """Refuse who may not write the node, and only then tell the others if it is as ``asked``."""
    if not may_write(who, node):
        raise PermissionDenied(f"{who} may not write {path}")
    asked.check(node)


async def _check_overwrite(db: Connection, node: Node, path: NodePath) -> None:
    check_unlocked(node, path)
    if not node.type.holds_data:
        raise InvalidArgument(f"{path} is a {node.type.qname}, which holds no bytes")
    if node.busy:
        raise NodeBusy(path)
    await nodes.keep_provisional(db, node.id)


async def _new_child(db: Connection, who: Identity, container: NodePath) -> _Target:
    made = await _new_node(db, who, container / uuid.uuid4().hex)
    return replace(made, made=True)


async def _new_node(db: Connection, who: Identity, path: NodePath) -> _Target:
    """Make the node that the bytes are for, so that a getNode shows it (decision 17)."""
    parent = parent_for_writing(await paths.resolve(db, path.parent), path.parent, who)
    settings = inherited(parent, merged(None, {}))
    async with transaction(db):  # a savepoint: a name taken meanwhile must not end the job
        node = await nodes.insert(
            db,
            parent.id,
            path.name,
            USUAL_DATA,
            who.user or "",
            settings,
            provisional=True,
        )
    return _Target(node.id, path, fresh=node)


async def _pull_target(
    db: Connection, who: Identity, path: NodePath, space: Space, form: Form | None = None
) -> _Target:
    if path.name == NULL and form is None:
        return _Target(NULL_ID, path)
    path, chain = await _followed(db, who, path, space, NodeNotFound)
    node = reach(chain, path, who)
    if not may_read(who, node):
        raise PermissionDenied(f"{who} may not read {path}")
    if form is not None:
        await _check_export(db, who, node, path, form)
    elif not node.type.holds_data:
        raise ViewNotSupported(f"{DEFAULT_VIEW} {path} is a {node.type.qname}, without bytes")
    return _Target(node.id, path)


async def _check_export(
    db: Connection, who: Identity, node: Node, path: NodePath, form: Form
) -> None:
    """Refuse what cannot be given whole, as a copy does, rather than leave out a part of it."""
    views.check_export(node, form, path)
    if form is not Form.FITS_HEADER:
        rights = await branches.rights_below(db, node.id)
        if not all(may_read(who, right) for right in rights):
            raise PermissionDenied(f"{who} may not read all of {path}")


async def _followed(
    db: Connection,
    who: Identity,
    path: NodePath,
    space: Space,
    missing: type[ContainerNotFound | NodeNotFound],
) -> tuple[NodePath, Sequence[Node]]:
    """Follow a LinkNode at the end of ``path`` inside this space; each must be readable."""
    for _ in range(MOST_LINKS):
        chain = await paths.resolve(db, path)
        if len(chain) <= len(path.parts):
            return path, chain
        node = reach(chain, path, who, missing)
        if node.type is not NodeType.LINK:
            return path, chain
        if not may_read(who, node):
            raise PermissionDenied(f"{who} may not read {path}")
        path = space.parse(node.target or "")
    raise InvalidURI(f"{path}: the links lead in a circle")

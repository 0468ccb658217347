"""Rows MOV and CPY: moveNode and copyNode."""

import asyncio

import pytest
from stack import AUTHORITY, properties, relocation

from conformance.world import (
    Witness,
    details,
    job_of,
    kind_of,
    names,
    of_uri,
    phase,
    refusal,
    result_of,
)

row = pytest.mark.row
BOTH = pytest.mark.parametrize("keep", [False, True])
DATA = bytes(range(256)) * 40


async def tree(alice: Witness, home: str) -> dict[str, bytes | None]:
    """Make a tree ``/t``; return its nodes with their bytes, containers and links without."""
    for path in ("/t", "/t/u", "/t/empty"):
        assert (await alice.make(home + path)).status == 201
    await alice.make(f"{home}/t/l", "LinkNode", f"<vos:target>{AUTHORITY}{home}/t/u</vos:target>")
    files = {"/a": DATA, "/u/b": b"b", "/u/c": b""}
    for path, data in files.items():
        assert (await alice.push(f"{home}/t{path}", data)).status == 201
    return {"": None, "/u": None, "/empty": None, "/l": None, **files}


async def found(alice: Witness, path: str) -> dict[str, bytes | None]:
    """Return what is at ``path`` and below, with its bytes."""
    node = await alice.get(f"/nodes{path}")
    assert node.status == 200, node
    if kind_of(node).endswith("DataNode"):
        return {"": (await alice.pull(path)).body}
    below: dict[str, bytes | None] = {"": None}
    for name in names(node):
        inside = await found(alice, f"{path}/{name}")
        below |= {f"/{name}{rest}": data for rest, data in inside.items()}
    return below


@row("MOV-01", "CPY-01", "MOV-02", "MOV-14", "UWS-03", "UWS-04")
@BOTH
async def test_a_file_is_moved_or_copied_by_a_job(alice: Witness, home: str, keep: bool) -> None:
    await alice.push(f"{home}/a", DATA)
    before = await alice.set(f"{home}/a", properties(title="T"))
    document = relocation(f"{home}/a", f"{home}/b", keep=keep)
    made = await alice.request("POST", "/transfers", document)
    assert (made.status, "/transfers/" in made.location) == (303, True)
    assert (await alice.get(f"{made.location}/phase")).text == "PENDING"
    assert names(await alice.get(f"/nodes{home}")) == ["a"]
    url, job = await alice.run(document)
    assert (phase(job), result_of(job, "destination")) == ("COMPLETED", f"{AUTHORITY}{home}/b")
    assert names(await alice.get(f"/nodes{home}")) == (["a", "b"] if keep else ["b"])
    assert (await alice.get(f"/nodes{home}/a")).status == (200 if keep else 404)
    after = await alice.get(f"/nodes{home}/b")
    assert (of_uri(after, "title"), (await alice.pull(f"{home}/b")).body) == ("T", DATA)
    assert (of_uri(after, "btime") == of_uri(before, "btime")) is not keep
    assert "<vos:protocol" not in (await details(alice, url)).text


@row("MOV-03", "CPY-02", "MOV-05", "CPY-05")
@BOTH
async def test_all_below_goes_along(alice: Witness, home: str, keep: bool) -> None:
    wanted = await tree(alice, home)
    _, job = await alice.run(relocation(f"{home}/t", f"{home}/w", keep=keep))
    assert phase(job) == "COMPLETED"
    assert await found(alice, f"{home}/w") == wanted
    for path, kind in (("", "ContainerNode"), ("/l", "LinkNode"), ("/a", "DataNode")):
        assert kind_of(await alice.get(f"/nodes{home}/w{path}")) == kind
    if keep:
        assert await found(alice, f"{home}/t") == wanted
    else:
        for path in wanted:
            assert (await alice.get(f"/nodes{home}/t{path}")).status == 404


@row("MOV-04", "CPY-03")
@BOTH
async def test_a_container_takes_in(alice: Witness, home: str, keep: bool) -> None:
    await alice.make(f"{home}/d")
    await alice.push(f"{home}/a", DATA)
    _, job = await alice.run(relocation(f"{home}/a", f"{home}/d", keep=keep))
    assert result_of(job, "destination") == f"{AUTHORITY}{home}/d/a"
    assert (await alice.pull(f"{home}/d/a")).body == DATA
    assert (await alice.get(f"/nodes{home}/a")).status == (200 if keep else 404)


@row("MOV-06", "MOV-07", "MOV-08", "MOV-09", "MOV-10", "MOV-11", "MOV-15", "CPY-06", "FLT-04")
@BOTH
@pytest.mark.parametrize(
    ("source", "target", "message", "fault", "detail"),
    [
        ("{home}/none", "{home}/b", "Node Not Found", "NodeNotFound", "{a}{home}/none"),
        ("{home}/none/x", "{home}/b", "Node Not Found", "NodeNotFound", "{a}{home}/none"),
        ("{home}/t/a", "{home}/f", "Duplicate Node", "DuplicateNode", "{a}{home}/f"),
        ("{home}/a", "{home}/t", "Duplicate Node", "DuplicateNode", "{a}{home}/t/a"),
        ("{home}/f", "{home}/f", "Duplicate Node", "DuplicateNode", "{a}{home}/f"),
        ("{home}/f", "{home}", "Duplicate Node", "DuplicateNode", "{a}{home}/f"),
        ("{home}/t/u", "{home}/t", "Duplicate Node", "DuplicateNode", "{a}{home}/t/u"),
        ("/home/bob", "{home}/b", "Permission Denied", "PermissionDenied", ""),
        ("{home}/f", "/home/bob", "Permission Denied", "PermissionDenied", ""),
        ("{home}/f", "vos://other.org~x/b", "Invalid URI", "InvalidURI", "vos://other.org~x/b"),
        ("{home}/f", "vos://icrar.org~ngas{home}//b", "Invalid URI", "InvalidURI", "{a}{home}//b"),
        ("{home}/t", "{home}/t/u", "Invalid URI", "InvalidURI", ""),
        ("{home}/t", "{home}/t/new", "Invalid URI", "InvalidURI", ""),
        ("{home}/f", "{home}/none/b", "Node Not Found", "NodeNotFound", "{a}{home}/none"),
        ("{home}/f", "{home}/t/a/b", "Node Not Found", "NodeNotFound", "{a}{home}/t/a"),
        ("{home}/f", "{home}/t/l/b", "Link Found", "LinkFound", "{a}{home}/t/l"),
    ],
)
async def test_what_cannot_be_moved_or_copied_stays(
    alice: Witness,
    home: str,
    keep: bool,
    source: str,
    target: str,
    message: str,
    fault: str,
    detail: str,
) -> None:
    for path in ("/t", "/t/u"):
        await alice.make(home + path)
    for path in ("/f", "/a", "/t/a"):
        await alice.make(home + path, "DataNode")
    await alice.make(f"{home}/t/l", "LinkNode", f"<vos:target>{AUTHORITY}{home}</vos:target>")
    before = await found(alice, home)
    document = relocation(source.format(home=home), target.format(home=home), keep=keep)
    told = await refusal(alice, document)
    assert told[:2] == (message, fault)
    assert detail.format(a=AUTHORITY, home=home) in told[2]
    assert await found(alice, home) == before


@row("MOV-09")
async def test_a_stranger_moves_nothing(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a", "DataNode")
    for path in (home, f"{home}/a"):
        await alice.set(path, properties(publicread="true"))
    document = relocation(f"{home}/a", "/home/bob/a", keep=False)
    assert (await refusal(alice("bob"), document))[:2] == ("Permission Denied", "PermissionDenied")
    assert names(await alice.get(f"/nodes{home}")) == ["a"]


@row("MOV-12", "CPY-04")
@BOTH
async def test_auto_makes_a_name(alice: Witness, home: str, keep: bool) -> None:
    await alice.make(f"{home}/d")
    await alice.push(f"{home}/a", DATA)
    _, job = await alice.run(relocation(f"{home}/a", f"{home}/d/.auto", keep=keep))
    made = (result_of(job, "destination") or "").removeprefix(AUTHORITY)
    assert made.startswith(f"{home}/d/")
    assert names(await alice.get(f"/nodes{home}/d")) == [made.rpartition("/")[2]]
    assert (await alice.pull(made)).body == DATA


@row("MOV-13")
@pytest.mark.parametrize("where", ["{home}/.null", "/.null"])
async def test_a_move_to_null_deletes(alice: Witness, home: str, where: str) -> None:
    await tree(alice, home)
    target = where.format(home=home)
    _, job = await alice.run(relocation(f"{home}/t", target, keep=False))
    assert phase(job) == "COMPLETED"
    assert names(await alice.get(f"/nodes{home}")) == []
    await alice.make(f"{home}/a", "DataNode")
    _, job = await alice.run(relocation(f"{home}/a", target, keep=True))
    assert (phase(job), names(await alice.get(f"/nodes{home}"))) == ("COMPLETED", ["a"])


@row("MOV-16")
async def test_two_moves_into_each_other_make_no_circle(alice: Witness, home: str) -> None:
    for number in range(4):
        a, b = f"{home}/a{number}", f"{home}/b{number}"
        await alice.make(a)
        await alice.make(b)
        jobs = await asyncio.gather(
            alice.sync(relocation(a, f"{b}/a", keep=False)),
            alice.sync(relocation(b, f"{a}/b", keep=False)),
        )
        ended = [(await alice.get(f"{job_of(job)}/phase")).text for job in jobs]
        assert sorted(ended) == ["COMPLETED", "ERROR"]
        left = [(await alice.get(f"/nodes{path}")).status for path in (a, b)]
        assert sorted(left) == [200, 404]


@row("CPY-07")
async def test_copy_and_source_are_independent(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/a", b"first")
    await alice.run(relocation(f"{home}/a", f"{home}/b", keep=True))
    await alice.push(f"{home}/b", b"second")
    assert (await alice.pull(f"{home}/a")).body == b"first"
    await alice.delete(f"/nodes{home}/a")
    assert (await alice.pull(f"{home}/b")).body == b"second"


@row("MOV-01")
async def test_without_keep_bytes_it_is_a_copy(alice: Witness, home: str) -> None:
    await alice.make(f"{home}/a", "DataNode")
    document = relocation(f"{home}/a", f"{home}/b", keep=True)
    document = document.replace("<vos:keepBytes>true</vos:keepBytes>", "")
    _, job = await alice.run(document)
    assert phase(job) == "COMPLETED"
    assert names(await alice.get(f"/nodes{home}")) == ["a", "b"]

"""Storage servers that are killed or hang while they call others, and the one that takes over."""

from collections.abc import AsyncIterator
from pathlib import Path

import peer as peers
import pytest
from peer import DATA, Peer, endpoints
from processes import Cluster, Process, cluster
from waiting_support import until_true

FILE = "/home/alice/f"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with peers.running_peer() as running:
        yield running


@pytest.fixture
async def site(dsn: str, empty_dsn: str, tmp_path: Path, peer: Peer) -> AsyncIterator[Cluster]:
    """Two servers of each kind as processes, which may call the peer."""
    rules = {"allow_hosts": f"127.0.0.1:{peer.port}"}
    async with cluster(dsn, empty_dsn, tmp_path, nodes=1, servers=2, storage=rules) as running:
        yield running


async def started(site: Cluster, document: str) -> str:
    caller = site.caller("alice")
    return (await caller.request("POST", "/transfers?PHASE=RUN", document)).location


async def executing(site: Cluster) -> Process:
    """Return the storage server that executes the one job."""
    executor: str = await site.value("select executor from job where phase = 'EXECUTING'")
    pid = int(executor.split(":")[1])
    return next(one for one in site.storages if one.pid == pid)


async def called(peer: Peer, times: int) -> None:
    async def so_often() -> bool:
        return len(peer.log) == times

    await until_true(so_often)


async def end_of(site: Cluster, job: str) -> tuple[str, str]:
    """Wait for the end of a job; return its phase and error."""
    caller = site.caller("alice")

    async def over() -> bool:
        return (await caller.get(f"{job}/phase")).text not in ("QUEUED", "EXECUTING")

    await until_true(over)
    error = await caller.get(f"{job}/error")
    return (await caller.get(f"{job}/phase")).text, error.text if error.status == 200 else ""


@pytest.mark.row("UWS-42", "PTV-04")
async def test_a_pull_whose_server_is_killed_begins_again_at_another(
    site: Cluster, peer: Peer
) -> None:
    caller = site.caller("alice")
    await caller.push(FILE, b"old")
    urls = (peer.url("none"), peer.url("slow"), peer.url("file"))
    job = await started(site, endpoints("pullToVoSpace", FILE, *urls))
    await peer.begun.wait()
    await (await executing(site)).kill()
    assert (await caller.get(f"{job}/phase")).text == "EXECUTING"
    peer.go_on.set()
    await site.forget_leases()

    assert await end_of(site, job) == ("COMPLETED", "")
    # The endpoint that had failed is not called again; the one under way has had no effect.
    assert peer.log == ["GET none", "GET slow", "GET slow"]
    shown = await caller.get(f"/nodes{FILE}")
    assert 'busy="false"' in shown.text
    outcomes = await site.query(
        "select outcome from attempt where job_id = $1 order by number", job.rpartition("/")[2]
    )
    assert [row["outcome"] for row in outcomes] == ["failed", "superseded", "committed"]


@pytest.mark.row("UWS-42", "PFV-04")
async def test_a_push_whose_server_is_killed_ends_in_error_and_is_not_sent_twice(
    site: Cluster, peer: Peer
) -> None:
    await site.caller("alice").push(FILE, DATA)
    urls = (peer.url("bad"), peer.url("hold"), peer.url("in"))
    job = await started(site, endpoints("pushFromVoSpace", FILE, *urls))
    await peer.begun.wait()
    await (await executing(site)).kill()
    await site.forget_leases()

    phase, error = await end_of(site, job)
    assert (phase, error.split()[0]) == ("ERROR", "TransferFailed")
    assert "not known" in error
    assert peer.log == ["PUT bad", "PUT hold"]


@pytest.mark.row("UWS-42")
async def test_a_server_that_hung_and_comes_back_does_no_harm(site: Cluster, peer: Peer) -> None:
    job = await started(site, endpoints("pullToVoSpace", FILE, peer.url("slow")))
    await peer.begun.wait()
    hung = await executing(site)
    hung.pause()
    await site.forget_leases()
    await called(peer, 2)
    peer.go_on.set()
    assert await end_of(site, job) == ("COMPLETED", "")
    hung.resume()

    async def lost() -> bool:
        return "was lost to" in hung.said or "was stopped" in hung.said

    await until_true(lost)
    assert await end_of(site, job) == ("COMPLETED", "")
    outcomes = await site.query("select outcome from attempt order by number")
    assert [row["outcome"] for row in outcomes] == ["superseded", "committed"]

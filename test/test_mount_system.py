"""Mounts as the system makes them: by mount(8), out of /etc/fstab, and for an ordinary user."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import mount_support
import pytest
from mount_support import ENVIRONMENT, Site, command

NOBODY: Final = 65_534

pytestmark = [
    pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not())),
    pytest.mark.skipif(os.getuid() != 0, reason="only root calls mount(8), or is somebody else"),
]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_mount_and_fstab_know_it(site: Site, tmp_path: Path) -> None:
    """In a name space of its own, where the system's folders can be replaced by others."""
    path = site.container()
    site.run(site.alice.push(f"{path}/f", b"by mount"))
    mountpoint, state, _ = command(site, tmp_path, path)
    commands, fstab = tmp_path / "sbin", tmp_path / "fstab"
    commands.mkdir()
    shutil.copy("/sbin/ldconfig", commands)  # Python finds libraries by it
    helper = commands / "mount.fuse.ngas"
    script = "import sys; from pyvospace_ngas.cli.mount import mount_fuse; sys.exit(mount_fuse())"
    helper.write_text(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(script)} "$@"\n')
    helper.chmod(0o755)
    url = site.url.removesuffix("/vospace")
    options = f"username=alice,password_file={tmp_path}/password,path={path},state={state}"
    fstab.write_text(f"{url} {mountpoint} fuse.ngas noauto,_netdev,{options} 0 0\n")
    steps = f"""
        mount --bind {commands} /sbin
        mount --bind {fstab} /etc/fstab
        mount -t fuse.ngas {url} {mountpoint} -o ro,{options}
        cat {mountpoint}/f
        ! touch {mountpoint}/new 2>/dev/null
        umount {mountpoint}
        mount {mountpoint}
        echo ' and fstab' >> {mountpoint}/f
        grep -q 'fuse.ngas' /proc/mounts
        umount {mountpoint}
    """
    done = privately(steps)
    assert (done.returncode, done.stdout, done.stderr) == (0, "by mount", "")
    assert site.run(site.alice.pull(f"{path}/f")).body == b"by mount and fstab\n"


@pytest.mark.parametrize("version", mount_support.versions())
def test_an_ordinary_user_mounts_for_himself(site: Site, open_folder: Path, version: int) -> None:
    """He may read this Python wherever it is, and nothing else that he could not always do."""
    path = site.container()
    mountpoint, _, words = command(site, open_folder, path, f"fuse={version}")
    for each in (open_folder, mountpoint, open_folder / "password"):
        os.chown(each, NOBODY, NOBODY)
    user = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
    reads = "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search"
    done = privately(f"""
        mknod {open_folder}/fuse c 10 229  # as it is on a machine with udev: for everybody
        chmod 666 {open_folder}/fuse
        mount --bind {open_folder}/fuse /dev/fuse
        cd {mountpoint.parent}
        {user} {reads} {shlex.join(words)}
        {user} sh -c 'echo mine > m/f; cat m/f; stat -c "%u %a" m/f'
        ! cat m/f 2>/dev/null  # not even root, without allow_other
        {user} fusermount3 -u m
    """)
    assert (done.stdout, done.stderr) == (f"mine\n{NOBODY} 600\n", "")
    assert done.returncode == 0
    assert site.run(site.alice.pull(f"{path}/f")).body == b"mine\n"


def privately(steps: str) -> "subprocess.CompletedProcess[str]":
    """Run a script that may mount what it likes: nobody else sees it."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "mount --make-rprivate /\n" + steps],
        env=ENVIRONMENT | {"HOME": "/nowhere"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip(f"nothing can be mounted privately here: {done.stderr}")
    return done

"""The packaged suites for file systems, on a mount, as far as this machine has them."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mount_support
import pytest
from mount_support import Mounted, Site, mounted, sh

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)

# Python's own tests of files, and those of them that ask for what a VOSpace does not have: names
# that are no UTF-8, permission bits that would let the rest of the world write (test_pathlib
# begins with them), and a directory's time that is the one of the last change inside.
PYTHON = {
    "test_tempfile": "",
    "test_fileio": "",
    "test_zipfile": "",
    "test_glob": "",
    "test_posix": "",
    "test_mmap": "",
    "test_file": "",
    "test_fcntl": "",
    "test_filecmp": "",
    "test_posixpath": "test_nonascii_abspath",
    "test_genericpath": "",
    "test_tarfile": "",
    "test_io": "",
    "test_gzip": "",
    "test_bz2": "",
    "test_dbm": "",
    "test_shelve": "",
    "test_mailbox": "test_permissions_after_flush|test_reread",
    "test_sqlite3": "undecodable",
    "test_zipimport": "testFileUnreadable|[Uu]nencodable",
    "test_fileinput": "",
    "test_linecache": "",
    "test_shutil": "test_copymode_follow_symlinks|test_copytree_retains_permissions",
    "test_os": "Pep383Tests|MakedirTests.test_mode",
}


@pytest.fixture
def m(site: Site, tmp_path: Path) -> Iterator[Mounted]:
    with mounted(site, tmp_path, site.container()) as running:
        yield running


@pytest.mark.scale
@pytest.mark.parametrize("module", PYTHON)
def test_python_passes_its_own_tests_of_files(m: Mounted, module: str) -> None:
    check_python(m, module)


@pytest.mark.parametrize("module", ["test_file"])
def test_python_passes_some_of_its_tests_of_files(m: Mounted, module: str) -> None:
    check_python(m, module)


def check_python(m: Mounted, module: str) -> None:
    words = (sys.executable, "-m", "test", "-v", "--tempdir", str(m.path), module)
    said = sh(m.path, *words, check=False, patience=2400)
    if "No module named 'test" in said:
        pytest.skip("this Python came without its tests")
    failed = re.findall(r"^(?:FAIL|ERROR): .*", said, re.MULTILINE)
    known = PYTHON[module]
    assert [each for each in failed if not known or not re.search(known, each)] == []
    assert re.search(r"^Ran \d+ tests", said, re.MULTILINE), said[-2000:]


@pytest.mark.scale
@pytest.mark.parametrize(
    "words",
    [
        "bonnie++ -f -d . -u root -s 64:64k -r 16 -n 0 -q",
        "dbench -D . -t 10 1",
        "stress-ng --temp-path . --hdd 2 --hdd-bytes 4m --rename 1 --dentry 1 --dentries 64"
        " --timeout 20s --verify",
        "fio --name=v --filename=f --size=64m --bsrange=512-256k --rw=randrw --verify=crc32c"
        " --do_verify=1 --ioengine=psync --minimal --fallocate=none",
    ],
    ids=lambda words: str(words.split(maxsplit=1)[0]),
)
def test_a_suite_finds_no_fault(m: Mounted, words: str) -> None:
    program = words.split(maxsplit=1)[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    sh(m.path, *words.split(), patience=600)

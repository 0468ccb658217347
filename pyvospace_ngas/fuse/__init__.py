"""A VOSpace as a directory, by FUSE."""

"""A working example of each kind of plug-in, to be used as it is or to begin from."""

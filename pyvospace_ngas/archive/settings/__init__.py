"""A node's configuration as frozen values, by what they are for, and how they are read."""

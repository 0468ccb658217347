"""The storage server: bytes between clients and NGAS nodes."""

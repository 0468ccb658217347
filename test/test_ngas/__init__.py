"""Tests that talk to an NGAS node."""

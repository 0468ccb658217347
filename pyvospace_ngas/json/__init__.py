"""Nodes in JSON, for programs that ask for it; pure."""

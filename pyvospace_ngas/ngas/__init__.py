"""NGAS's protocol, and a client for any node that speaks it."""

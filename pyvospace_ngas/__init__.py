"""A VOSpace 2.1 service that keeps its files in NGAS archives."""

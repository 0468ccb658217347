"""An archive node compatible with NGAS; it knows nothing of VOSpace."""

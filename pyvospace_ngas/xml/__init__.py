"""Documents to values and back; pure."""

"""One module an NGAS command, all with one signature."""

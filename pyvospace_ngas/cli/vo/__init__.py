"""The command ``ngas_vo``: a space from the shell. One module for each group of commands."""

"""The VOSpace server: nodes, transfers and jobs over HTTP."""

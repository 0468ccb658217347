"""Every row of the conformance matrix of VOSpace 2.1, asked over HTTP of running servers."""

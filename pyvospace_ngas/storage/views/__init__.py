"""Views of nodes: containers as tar and zip, both ways, and the headers of FITS files."""

"""An HTTP client of our own servers."""

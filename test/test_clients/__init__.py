"""The clients that people use, as they install them, run against running servers."""

"""One module a resource of the VOSpace server."""

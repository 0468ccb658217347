"""What the edges of both servers share."""

"""Values and rules of a VOSpace; pure."""

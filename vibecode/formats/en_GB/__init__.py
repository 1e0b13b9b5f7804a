"""British."""

"""Many rows at once: as columns of Apache Arrow, from and to files."""

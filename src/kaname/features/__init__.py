"""Features: relations, and layouts that map their rows onto cells, declared in `features/*.schema`."""

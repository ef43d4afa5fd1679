"""Views: what a model reads of the relations, by the keys of entities."""

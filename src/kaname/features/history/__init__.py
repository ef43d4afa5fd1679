"""The history of a relation: every write, with the moment at which it became known."""

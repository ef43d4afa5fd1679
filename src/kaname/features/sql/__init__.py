"""Queries: SQL over the rows of one relation, answered by the layout in which the fewest rows have to be read."""

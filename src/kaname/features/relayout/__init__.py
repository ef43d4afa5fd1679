"""Layouts that take the place of others while rows are written: see `running`."""

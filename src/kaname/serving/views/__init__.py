"""Requests that name an entity: its features are read through the model's view."""

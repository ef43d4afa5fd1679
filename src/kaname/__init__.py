"""Kaname: one Python platform for production ML inference."""

__version__ = "0.1.0"

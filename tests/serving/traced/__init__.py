"""Requests that are traced, by every door."""

"""Encryption at rest: data keys for artefacts and segments of the event log, wrapped by named keys of the owner."""

"""Requests that are accepted now and answered later: durable, answered once, found under an id or sent by webhook."""

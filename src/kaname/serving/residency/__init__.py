"""The account of what is in memory: per worker and version, published to whoever asks."""

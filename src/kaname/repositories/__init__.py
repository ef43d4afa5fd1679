"""Model repositories of other servers: read as they lie in a folder, taken over once, or watched."""

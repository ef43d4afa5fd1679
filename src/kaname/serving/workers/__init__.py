"""Worker processes under a supervisor that holds their sockets: one per core, each replaceable at any time."""

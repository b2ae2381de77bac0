"""The manager's process: the router in a shell, which reads no job and no result."""

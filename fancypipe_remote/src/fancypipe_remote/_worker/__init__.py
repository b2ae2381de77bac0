"""The worker's daemon, which starts a host process for each client."""

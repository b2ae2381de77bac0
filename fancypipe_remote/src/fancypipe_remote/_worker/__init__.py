"""The worker's daemon: a host process for each client that asks."""

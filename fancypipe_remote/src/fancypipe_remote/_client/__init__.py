"""The client's backend, and its thread for the network."""

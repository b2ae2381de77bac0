"""The client's backend, and its link."""

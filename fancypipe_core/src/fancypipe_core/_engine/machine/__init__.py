"""The scheduler: a pure machine that is told events and returns actions."""

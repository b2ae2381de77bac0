"""What one job must not change for the next: the process's state, leaks, the process replaced."""

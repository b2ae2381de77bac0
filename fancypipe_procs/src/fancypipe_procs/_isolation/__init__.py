"""What one job must not change for the next: state, leaks, the process replaced."""

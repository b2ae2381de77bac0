"""What knows nothing of tasks: fault points, signals, the machine, names of code."""

"""What knows nothing of tasks: fault points, signals, the machine, names of code.

Nothing of the engine enters; small functions and classes leave it, for every room above.
Tasks, settings and channels are not its affair.
"""

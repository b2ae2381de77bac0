"""What a run's events come to: how long it will take, and what it took the time for.

Facts of tasks enter, figures leave.  Nothing here waits, draws, or knows of a terminal.
"""

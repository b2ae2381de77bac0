"""The scheduler: a pure machine that is told events and returns actions.

It knows tasks by number.  Clocks, values, threads and backends are not its affair.
"""

"""The client's side of a run: graph, scheduler, loop, shutdown, report.

References enter; values or errors leave.  Jobs go to a backend and events come back.  Where
a job runs, and what is in a payload, is not its affair.
"""

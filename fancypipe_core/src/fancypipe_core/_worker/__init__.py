"""The other side of a job: how it is run, in whatever process.

Jobs enter; results, failures and notes leave.  How they come and go, and what dies
meanwhile, is not its affair.
"""

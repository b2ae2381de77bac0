"""Which plugins are installed, and who looks on at a run.

Entry points enter; checked plugins leave.  What happens to tasks enters; calls of the
observers' hooks leave.  What a plugin's settings are worth is not its affair.
"""

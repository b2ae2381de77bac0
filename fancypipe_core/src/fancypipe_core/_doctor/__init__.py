"""What would keep a pipeline from running, found before it runs.

A pipeline's task enters; findings leave, each with what to do.  It runs no task.
"""

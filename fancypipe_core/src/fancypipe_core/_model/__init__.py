"""What users write: tasks, references to outputs, and what a running task may ask for.

Functions and classes of the user enter; `Definition`s and `Instance`s leave.  How they
are run, carried and scheduled is not its affair.
"""

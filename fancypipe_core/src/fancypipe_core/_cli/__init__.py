"""The command line: what is asked for, done and shown.

Words enter; lines on the screen and an exit code leave.  All that it does is to be had
from Python too.
"""

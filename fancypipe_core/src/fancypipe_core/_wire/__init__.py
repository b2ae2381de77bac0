"""Frames of bytes on a channel, and the records in them.

Jobs, commands and reports enter at one end and leave at the other.  What a payload
means, and who is at the other end, is not its affair.
"""

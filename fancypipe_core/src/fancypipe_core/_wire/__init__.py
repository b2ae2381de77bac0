"""Frames of bytes on a channel, and the records in them."""

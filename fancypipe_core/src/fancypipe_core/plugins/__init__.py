"""Plugins of this package, which use the public hooks and nothing else.

What hooks tell enters; lines on the screen leave.
"""

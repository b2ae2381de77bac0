"""What runs other tools' work on fancypipe: each module needs the tool that it is named after.

In comes what such a tool would give to its own scheduler or pool; it leaves as tasks of a
session.  No module is imported by the rest of the package, and none touches the engine
otherwise than users do.
"""

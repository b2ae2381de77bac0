"""The remote backend of fancypipe: jobs run on other machines.

A manager knows who is there and passes sealed bytes on; workers run jobs on any
local backend; clients run pipelines.  All three meet at the manager's address.
"""

"""Settings: how each is declared, read and explained, and which are in force.

Arguments, variables and files enter; records with typed values leave, with the origin of
each.  What a setting does is not its affair.
"""

"""From objects to payloads and back, and what could not travel, in words.

The user's objects enter and `Payload`s leave, with holes where references stood; and the
other way round.  Who sends them where is not its affair.
"""

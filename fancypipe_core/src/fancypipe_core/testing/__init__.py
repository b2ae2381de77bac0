"""What authors of backends test theirs with: the conformance kit, one test for each rule.

A backend enters; failed tests with the rule's number leave.
"""

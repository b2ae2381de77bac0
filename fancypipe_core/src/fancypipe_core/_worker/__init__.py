"""The other side of a job: how it is run, in any process."""

"""`fancypipe doctor`: finds what would keep a pipeline from running in worker processes."""

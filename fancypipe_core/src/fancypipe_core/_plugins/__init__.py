"""Which plugins are installed, and who looks on at a run."""

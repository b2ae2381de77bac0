"""Settings: how each is declared, read and explained, and which are in force."""

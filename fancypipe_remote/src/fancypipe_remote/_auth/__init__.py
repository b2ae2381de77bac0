"""Secrets, and the keys that are made of them."""

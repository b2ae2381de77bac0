"""Plugins that come with the engine; they use the public hooks only."""

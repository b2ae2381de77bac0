"""How long fancypipe and its peers take for the same work.  See README.md."""

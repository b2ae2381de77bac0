"""What the command line is made of; `cli` puts it together."""

"""What a task's key is, and a folder that keeps results by key.

An instance enters, and the key of its call leaves, with what it was made of: code, inputs,
versions.  Nothing is run, sent or decided here: who asks for keys, and when, is the engine's
affair.
"""

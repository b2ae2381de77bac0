"""How a client's code and large buffers come to a worker."""

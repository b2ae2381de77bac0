"""What decides and does no IO: messages, streams, links, endpoints, the router."""

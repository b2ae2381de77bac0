"""What decides and does no IO: messages, streams, links, endpoints, the router.

Messages and the time enter; messages to send, and events, leave.
"""

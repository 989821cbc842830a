"""Sends sessions to a server and reads what comes back: processes, connections, what happened to each
request. Knows nothing of figures."""

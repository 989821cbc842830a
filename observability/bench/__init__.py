"""`kvorum bench`: measures any server with an OpenAI-compatible API, over HTTP and from outside.

It knows nothing of Kvorum's own service or engine, so that its figures mean the same for every
server. The parent process plans, watches and keeps (`conductor`); worker processes send and read
(`worker`); what came back is a `Run`, from which everything else is computed.
"""

"""`kvorum bench`: measures any server with an OpenAI-compatible API, over HTTP and from outside.

It knows nothing of Kvorum's own service or engine, so that its figures mean the same for every
server. `measurement` plans, loads and watches; what came back is a `Run`, from which everything else
is computed: figures, comparisons, pages.
"""

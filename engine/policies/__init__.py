"""Who is served next: the order of the waiting.

- ``base``          what a waiting queue is
- ``sorted_queue``  an order that never changes: by arrival, or by priority and arrival
- ``dynamic``       turns for tenants, short prompts first, nobody passed over for ever
- ``select``        the queue of a policy's name
"""

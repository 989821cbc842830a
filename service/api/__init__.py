"""The routes: each turns a request of one API into the use case and its deltas into an answer."""

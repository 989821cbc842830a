"""The command `kvorum bench`: options, live progress, words to the user.

What is measured and how stands in `observability.bench` (servers, from outside) and `engine.bench`
(the engine alone).
"""

"""`kvorum doctor`: looks at all that a server needs, and says what is wrong and what to do.

`examination` is the list of what is looked at. A check is a function from facts to findings, so
that it can be tested on a machine that is well; what reads the facts is beside it.
"""

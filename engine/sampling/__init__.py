"""From logits to tokens.

- ``noise``    one uniform number for each (seed, position): counter-based, no state
- ``sampler``  greedy, temperature, top-k, top-p over the rows of a step
"""

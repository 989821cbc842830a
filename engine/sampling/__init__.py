"""From logits to tokens.

- ``noise``          one uniform number for each (seed, sample, position): counter-based, no state
- ``sampler``        `Sampler`: the step's rows in groups of one kind, each in slices of bounded size
- ``row_settings``   `RowSettings`: how each row is drawn, in arrays
- ``logit_changes``  `LogitChanges`: masks, bias and penalties, for the rows that have any
- ``token_counts``   `TokenCounts`: how often each token has come, for the rows that are penalised
- ``weights``        weights that are whole numbers, so that sums of them are exact, and the draw
- ``filters``        top-k, top-p and min-p without a sort of the vocabulary
- ``chunks``         `Chunks`: maxima and sums of pieces of a row, the first of two levels
- ``logprobs``       log-probabilities of the model's own distribution
"""

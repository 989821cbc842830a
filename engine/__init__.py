"""The engine: token ids, tensors and memory. It knows nothing of HTTP, JSON APIs or keys.

Read it in this order:

- ``protocol``      what is said: every message that crosses the channel, in both directions
- ``client``        the only object the service holds: requests go in, replies come out
- ``actor``         who owns: one task and one thread run admit -> execute -> publish
- ``scheduler``     what runs next: a step under a token budget, preemption, exactly one end
- ``kv_cache``      where it lies: the block pool
- ``step``          the plain data between scheduler and runner: StepPlan, StepResult
- ``model_runner``  how it runs: plan -> tensors -> forward -> sampled tokens
- ``attention``     the seam into unmodified Hugging Face models
- ``sampling``      logits -> tokens, with counter-based randomness
- ``models``        what can be served: cards, registry, the real loading code
- ``text``          tokenizer, chat template, detokenizer: pure, called from the service's side
"""

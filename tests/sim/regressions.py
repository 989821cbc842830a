"""Seeds that have found a fault of the engine. They run first, and each says what it has found.

A seed is a history only as long as the simulation draws its dice in the same order: after a change
there it is one more seed. What must stay found for ever has a test of its own beside the code.
"""

from __future__ import annotations

WORLDS: dict[int, str] = {
    6: "totals fell in the frame that told of an unloaded model's requests",
    8: "a step that raised with two samples of one request in it ended the engine",
    10: "a refusal was lost when the device broke in the step after it",
    98: "blocks that a window gave back before the first token were reused with what is not finite",
}
"""For `simulate`."""

CROWDS: dict[int, str] = {
    8: "a step that raised with two samples of one request in it ended the engine",
    85: "blocks that a window gave back before the first token were reused with what is not finite",
    108: "a copy for a sequence that yielded in the same plan went into another one's block",
    182: "whoever there was room for waited after the one before it, for whom there was none, had left",
}
"""For `simulate_crowd`."""

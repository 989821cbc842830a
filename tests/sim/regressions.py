"""Seeds that have found a fault of the engine. They run first, and each says what it has found.

A seed is a history only as long as the simulation draws its dice in the same order: after a change
there it is one more seed. What must stay found for ever has a test of its own beside the code.
"""

from __future__ import annotations

WORLDS: dict[int, str] = {
    3: "a step that raised with two samples of one request in it ended the engine",
    5: "what had been told before a step was lost when the device broke in it, or the commands ended",
    6: "totals fell in the frame that told of an unloaded model's requests",
    10: "blocks that a window gave back before the first token were reused with what is not finite",
    24: "the next in line waited on though the one for whom there was no room had left",
}
"""For `simulate`."""

CROWDS: dict[int, str] = {
    3: "a step that raised with two samples of one request in it ended the engine",
    48: "the next in line waited on though the one for whom there was no room had left",
    81: "a copy for a sequence that yielded in the same plan went into another one's block",
    84: "blocks that a window gave back before the first token were reused with what is not finite",
}
"""For `simulate_crowd`."""

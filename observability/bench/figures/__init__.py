"""From what happened to figures: pure, so that an old run can be asked a new question."""

"""What can go wrong with a cell of the benchmark."""


class CellFailed(Exception):
    """The cell has no result; the text says why. The run goes on with the next one."""

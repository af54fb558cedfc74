"""How many bytes an operation must read and write: what memory alone would take of a step's time."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Traffic(TorchDispatchMode):
    """Count the bytes of operands and results, each once an operation; a view moves none, nor does asking for memory.

    This is what plain operations must move, one after another, with nothing left in a cache between them.

    Example:
        >>> ones = torch.ones(1000)
        >>> with Traffic() as traffic:
        ...     _ = (ones + ones).view(10, 100).relu_()
        >>> traffic.bytes  # two operands and a result, then one operand and a result
        20000
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: tuple[type, ...], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it moved."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.__name__:
            moved = tree_leaves((args, kwargs, result))
            self.bytes += sum(one.nbytes for one in moved if isinstance(one, torch.Tensor))
        return result

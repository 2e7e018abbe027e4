"""What all layers share."""

from __future__ import annotations

from typing import Any

from fastnet import reference
from fastnet.arguments import Holder
from fastnet.kernels.once import once
from fastnet.shortcut import Shortcut


class Layer(Holder):
    """What the layers share: weights are read from ``params`` at every call.

    ``forward`` leaves in ``_memory`` what ``backward`` needs: the arrays themselves, until the next call.
    """

    __slots__ = ("__dict__", "__weakref__")

    def __init__(self, params: list[Any]) -> None:
        super().__init__(params)
        self._shortcut: Shortcut | None = None
        self._memory: list[Any] = [None]  # a list, as setting an item of it costs next to nothing

    @once
    def grads(self) -> list[Any]:
        """Arrays for the gradients of `params`, zeros at first, made when they are first asked for."""
        return reference.zeros_like(self.params)

    def _remembered(self) -> Any:
        memory = self._memory[0]
        if memory is None:
            raise RuntimeError(
                f"backward of {type(self).__name__} before forward: there is nothing to go back on"
            )
        return memory

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in ("forward", "backward", "__class__"):
            Shortcut.forget_all()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in ("forward", "backward"):
            Shortcut.forget_all()

    def __getstate__(self) -> tuple[list[Any], dict[str, Any]]:
        kept = {name: value for name, value in vars(self).items() if name != "grads"}
        return self.params, {**kept, "_shortcut": None, "_memory": [None]}

    def __setstate__(self, state: tuple[list[Any], dict[str, Any]]) -> None:
        self.params, attributes = state
        vars(self).update(attributes)

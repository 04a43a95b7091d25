"""What goes wrong between a program and its workers."""

from __future__ import annotations

__all__ = ["RemoteError", "RemoteTraceback", "SerializationError"]


class SerializationError(TypeError):
    """An object cannot be sent to or from a worker; the message names the part that is to blame."""


class RemoteTraceback(Exception):
    """Where in a worker an exception was raised: the cause (``__cause__``) of that exception."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(RuntimeError):
    """Stands for an exception that was raised in a worker and cannot be sent itself.

    Attributes:
        type_name: the class of that exception.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"

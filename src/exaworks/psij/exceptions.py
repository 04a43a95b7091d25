"""Exceptions of the PSI/J API.

::

    PSIJException
      InvalidJobException        the job or its specification cannot be accepted; fatal
        InvalidJobTypeException  a field holds a value of the wrong type
        InvalidStateException    the operation makes no sense in the job's present state
      SubmitException            the backend did not take the request; perhaps transient
      UnreachableStateException  a wait for a state that the job can no longer reach

Every message names what was wrong and, where we know it, what to do about it.
"""

from __future__ import annotations

__all__ = [
    "InvalidJobException",
    "InvalidJobTypeException",
    "InvalidStateException",
    "PSIJException",
    "SubmitException",
    "UnreachableStateException",
]


class PSIJException(Exception):
    """Base of all exceptions that this package raises on purpose.

    Attributes:
        message: what went wrong, in one or a few sentences.
        exception: the exception that caused this one, if any.
    """

    def __init__(self, message: str, exception: BaseException | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.exception = exception


class InvalidJobException(PSIJException):
    """The job cannot be understood or is contradictory; submitting it again cannot help.

    Source: PSI/J specification, "InvalidJobException".
    """


class InvalidStateException(InvalidJobException):
    """The job is not in a state that allows the operation (PSI/J, "InvalidStateException").

    It is an :class:`InvalidJobException` because psij-python raises that one in these cases and
    its clients catch it.
    """


class SubmitException(PSIJException):
    """The request could not be handed to the backend.

    Attributes:
        transient: whether trying the same again later may succeed (the scheduler is down, busy,
            or the queue is full for the moment).
    """

    def __init__(
        self, message: str, exception: BaseException | None = None, transient: bool = False
    ) -> None:
        super().__init__(message, exception)
        self.transient = transient

    @property
    def is_transient(self) -> bool:
        """Same as ``transient``; the specification's name for it."""
        return self.transient


class UnreachableStateException(PSIJException):
    """A job ended in a final state that makes the awaited state unreachable.

    Older PSI/J clients import it. :meth:`Job.wait` never raises it: it returns the final status.

    Attributes:
        status: the status that the job is in.
    """

    def __init__(self, status: object) -> None:
        super().__init__(f"The awaited state can no longer be reached: the job is {status}.")
        self.status = status


class InvalidJobTypeException(InvalidJobException, TypeError):
    """A field of a job holds a value of the wrong type.

    Also a :class:`TypeError`, which is what psij-python raises in these cases.
    """

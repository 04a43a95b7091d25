"""What a batch scheduler has to say about itself, for the shared batch executor to use it.

An adapter is pure: it does no I/O and keeps no state. It renders options, names the commands to
run, and reads what they print. To support another scheduler, subclass :class:`SchedulerAdapter`,
bind it in a subclass of :class:`~exaworks.psij.executors.batch.executor.BatchExecutor`, and
register that with a :class:`~exaworks.core.plugins.Descriptor`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import Command, CommandResult

__all__ = [
    "Accepted",
    "Answer",
    "Details",
    "Hint",
    "Observation",
    "Option",
    "Rejected",
    "Request",
    "SchedulerAdapter",
    "Site",
]


Option = tuple[str, ...]
"""An option of a submission command: its words, such as ``("-N", "name")``."""


@dataclass(frozen=True)
class Request:
    """A job, or an array of jobs, to be described to the scheduler.

    Attributes:
        spec: the checked specification (of an array: what all elements have in common).
        needs: its resources.
        name: the name for the job, unless a custom attribute sets one.
        log: a path from :meth:`SchedulerAdapter.log_path`, for what the script itself prints.
        array_count: the number of elements; ``None``: no array.
        dependencies: native ids of jobs by the kind of dependency on them (``"after"``,
            ``"afterok"``, ``"afternotok"``, ``"afterany"``); only kinds that the adapter names in
            :attr:`SchedulerAdapter.dependency_kinds`.
        held: the job must not start before :meth:`SchedulerAdapter.release_commands`.
    """

    spec: JobSpec
    needs: ResourceSpecV1
    name: str | None = None
    log: str = ""
    array_count: int | None = None
    dependencies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    held: bool = False


@dataclass(frozen=True)
class Observation:
    """What the scheduler says about one job.

    Attributes:
        native_id: the job, as the executor's :attr:`Job.native_id` writes it.
        state: what it means to us; ``None`` if we do not understand the scheduler's word.
        word: the scheduler's own word for the state.
        exit_code: the exit code, of a job that has ended; 128 + n if signal n ended it.
        signal: the signal that ended it.
        reason: why it failed: a value of :class:`~exaworks.psij.job_status.Reason`.
        cause: why it is in this state, in the scheduler's words.
        message: an explanation for people.
        nodes: the nodes it runs or ran on, as the scheduler writes them.
        restarts: how often it was put back into the queue, as far as known.
    """

    native_id: str
    state: JobState | None
    word: str
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    cause: str | None = None
    message: str | None = None
    nodes: str | None = None
    restarts: int = 0


@dataclass(frozen=True)
class Answer:
    """The answer to a question about jobs.

    Attributes:
        observations: what was said, one for each job.
        problem: what is wrong with the answer, so that a job that is not in it may exist all the
            same; ``None`` if the answer is complete.
        inferred: what must have become of jobs that were asked about and not mentioned, if
            nothing else is found out about them.
        unavailable: whether asking again is useless (there is no accounting here).
        skipped: lines that could not be understood.
    """

    observations: Sequence[Observation] = ()
    problem: str | None = None
    inferred: Sequence[Observation] = ()
    unavailable: bool = False
    skipped: Sequence[str] = ()


@dataclass(frozen=True)
class Accepted:
    """A submission was accepted.

    Attributes:
        native_ids: the id of the job, or of each element of an array in order.
    """

    native_ids: Sequence[str]


@dataclass(frozen=True)
class Rejected:
    """A submission was not accepted, or nobody knows.

    Attributes:
        message: why, in the scheduler's words.
        transient: whether trying again later may succeed.
        queue_limit: whether there are too many jobs, so that it may succeed when some have ended.
        uncertain: whether the scheduler may have accepted the job all the same.
    """

    message: str
    transient: bool = False
    queue_limit: bool = False
    uncertain: bool = False


@dataclass(frozen=True)
class Site:
    """Facts about an installation.

    Attributes:
        name: the name of the cluster; the same as :attr:`SchedulerAdapter.shell_site` gives in a
            job.
        array_limit: the most elements an array can have; less than 2 if there are no arrays.
        requeue_codes: exit codes with which a job is put back into the queue.
    """

    name: str
    array_limit: int = 1
    requeue_codes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Hint:
    """What the scheduler wrote into a job's log about its end.

    Attributes:
        reason: a value of :class:`~exaworks.psij.job_status.Reason`.
        message: an explanation for people.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Details:
    """All that the scheduler tells about one job.

    Attributes:
        observation: its state.
        info: facts for people.
        spec: what of its specification can be known.
        held: whether it is held back from starting.
    """

    observation: Observation
    info: JobInfo
    spec: JobSpec = field(default_factory=JobSpec)
    held: bool = False


class SchedulerAdapter(ABC):
    """The knowledge about one batch scheduler."""

    name: str
    """The executor's name, which also names the folder of its files."""

    title: str
    """The scheduler's name for people."""

    directive: str
    """What begins a line of options in a script, such as ``"#SBATCH"``; empty: there are none."""

    interpreter: str = "/bin/bash"
    """What runs the scripts. They are POSIX text, but functions such as ``module`` reach only bash.
    """

    script_file: bool = False
    """Whether the script must lie in a file until the job has started, instead of being read when
    it is submitted."""

    can_hold: bool = True
    """Whether jobs can be held back from starting."""

    dependency_kinds: frozenset[str] = frozenset()
    """The kinds of dependencies between jobs that the scheduler itself keeps."""

    shell_id: str
    """Shell word that gives, in a running job, its id as :meth:`record_name` says it."""

    shell_element_id: str
    """The same for a running element of an array."""

    array_base: int = 0
    """The scheduler's number of the first element of an array."""

    shell_index: str
    """Shell word that gives, in an element of an array, its number, from :attr:`array_base`."""

    shell_restarts: str
    """Shell word that gives, in a running job, how often it was put back into the queue."""

    shell_nodes: str
    """Shell word that gives, in a running job, the nodes as the scheduler writes them."""

    shell_site: str
    """Shell word that gives, in a running job, the name of the cluster."""

    shell_stopped: str = '[ "${_psij_code:-0}" -ne 0 ] && { sleep 0.3; [ "$_psij_term" = 1 ]; }'
    """Shell command that succeeds if the scheduler has begun to end the running job.

    SIGTERM may reach the job's program before the script around it, which then could not know why
    the program has ended; so, if nothing better is known, it waits a moment for its own. Its trap
    sets ``$_psij_term``. The log that :meth:`log_path` names is ``$_psij_log``.
    """

    shell_node_list: str
    """Shell commands that print the host of each process of the job, one a line."""

    # -- submission

    @abstractmethod
    def options(self, request: Request) -> list[Option]:
        """The scheduler's options for a job.

        Those that consist of plain words are written into the script after :attr:`directive`, the
        others are given on the command line.

        Raises:
            InvalidJobException: a custom attribute is not allowed, or the scheduler has no way to
                say something.
        """

    @abstractmethod
    def log_path(self, stem: str, array: bool) -> str:
        """The option value for the log file ``stem.log``, or ``stem_INDEX.log`` in an array.

        The index is the scheduler's, counted from :attr:`array_base`.
        """

    @abstractmethod
    def setup(self, spec: JobSpec) -> list[str]:
        """Lines of shell that a job script needs before anything else."""

    @abstractmethod
    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """The command that submits a script.

        Args:
            options: all options of the job.
            outside: those of them that are not in the script.
            script: the script.
            path: the executable file that holds the script, if the adapter says
                :attr:`script_file`.
        """

    @abstractmethod
    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """Read what the submission printed."""

    @abstractmethod
    def site_command(self) -> Command:
        """The command that tells about the installation."""

    @abstractmethod
    def parse_site(self, result: CommandResult) -> Site | None:
        """Read facts about the installation; ``None`` if it did not answer."""

    @abstractmethod
    def ping_command(self) -> Command:
        """The command that asks whether the scheduler is there."""

    @abstractmethod
    def parse_ping(self, result: CommandResult) -> str | None:
        """Why the scheduler cannot be used; ``None`` if it can."""

    # -- status

    @abstractmethod
    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """How :attr:`shell_site` and :attr:`shell_id` print in the job of that id.

        Returns:
            the site (``None``: the default one) and the id.
        """

    @abstractmethod
    def check_id(self, native_id: str) -> str | None:
        """What is wrong with a native id; ``None`` if it is well-formed."""

    @abstractmethod
    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """The commands that ask for the states of jobs, also of those that have just ended."""

    @abstractmethod
    def parse_query(self, result: CommandResult) -> Answer:
        """Read the states of jobs. Lines that cannot be understood are skipped."""

    @abstractmethod
    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """The commands that ask the accounting about jobs that have ended; none if it has none."""

    @abstractmethod
    def parse_accounting(self, result: CommandResult) -> Answer:
        """Read what the accounting says."""

    def read_log(self, text: str) -> Hint | None:
        """What the end of a job's log says about why the job was killed.

        Args:
            text: the last lines of the file that :meth:`log_path` named.
        """
        return None

    def look_again(
        self, native_id: str, told: Mapping[str, Observation]
    ) -> tuple[Observation | None, bool]:
        """What an answer says about a job that it does not name.

        Args:
            native_id: the job.
            told: what the answer says, by native id.

        Returns:
            what it says about the job, or ``None``; and whether that is only inferred, so that
            other sources are to be asked first.
        """
        return None, False

    # -- management

    @abstractmethod
    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """The commands that cancel jobs."""

    @abstractmethod
    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """The commands that keep queued jobs from starting."""

    @abstractmethod
    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """The commands that undo :meth:`hold_commands`."""

    @abstractmethod
    def parse_request(self, result: CommandResult) -> Rejected | None:
        """Read what a request to cancel, hold or release printed; ``None``: it was taken."""

    @abstractmethod
    def list_command(self) -> Command:
        """The command that lists the user's jobs that have not ended."""

    @abstractmethod
    def parse_list(self, result: CommandResult) -> list[str]:
        """Read native ids."""

    @abstractmethod
    def logs_command(self) -> Command:
        """The command that lists the log files of the user's jobs that the scheduler knows."""

    @abstractmethod
    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """Read native ids and log files; of an element, the file of that element."""

    @abstractmethod
    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """The commands that tell all about jobs: these, or all of a user, or all."""

    @abstractmethod
    def parse_details(self, result: CommandResult) -> list[Details]:
        """Read what they print."""

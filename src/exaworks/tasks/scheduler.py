"""Which task runs next, and where: a state machine without clock, threads or I/O.

Tasks that need the same and are of the same kind and priority form a *class*, a queue in the order
of submission; so the cost of a decision depends on the number of classes, not of tasks. Among the
classes of the highest priority the oldest task that fits goes first. A task that does not fit may
be overtaken by younger or less urgent ones that do, but only for :attr:`Scheduler.patience`
seconds: then nothing is started until it fits.

Nodes come and go. A node may have an end: then only tasks are started there that say how long they
may take, and have so much time left, or that do not say it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exaworks.tasks.resources import NodeResources, Resources

__all__ = ["Placement", "Rank", "Scheduler"]

_EPSILON = 1e-9
_NEVER = float("inf")


@dataclass(frozen=True)
class Rank:
    """Where one rank of a task runs.

    Attributes:
        node: the number of the node.
        cores: the numbers of its cores.
        gpus: the names of its GPUs.
    """

    node: int
    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """What a running task has.

    Attributes:
        request: what it asked for.
        ranks: where its ranks are.
    """

    request: Resources
    ranks: tuple[Rank, ...]


class _Node:
    """What is free on a node."""

    def __init__(self, has: NodeResources, end: float = _NEVER) -> None:
        self.has = has
        self.end = end
        self.cores = list(reversed(has.cores))  # the lowest is taken first, from the end
        self.gpus = dict.fromkeys(has.gpus, 1.0)
        self.memory = has.memory

    def room(self, request: Resources) -> int:
        """How many ranks fit."""
        most = len(self.cores) // request.cores
        if request.gpus >= 1:
            most = min(most, sum(free == 1.0 for free in self.gpus.values()) // int(request.gpus))
        elif request.gpus:
            shares = (int((free + _EPSILON) / request.gpus) for free in self.gpus.values())
            most = min(most, sum(shares))
        if request.memory and self.has.memory:
            most = min(most, self.memory // request.memory)
        return most

    def take(self, number: int, request: Resources) -> Rank:
        """Take what one rank needs; there must be room."""
        cores = tuple(self.cores.pop() for _ in range(request.cores))
        gpus: tuple[str, ...] = ()
        if request.gpus >= 1:
            whole = [name for name, free in self.gpus.items() if free == 1.0]
            gpus = tuple(whole[: int(request.gpus)])
            for name in gpus:
                self.gpus[name] = 0.0
        elif request.gpus:
            # The fullest that has room, so that whole ones stay whole.
            free, name = min(
                (free, name) for name, free in self.gpus.items() if free + _EPSILON >= request.gpus
            )
            self.gpus[name] = max(0.0, free - request.gpus)
            gpus = (name,)
        if request.memory and self.has.memory:
            self.memory -= request.memory
        return Rank(number, cores, gpus)

    def give_back(self, rank: Rank, request: Resources) -> None:
        self.cores.extend(reversed(rank.cores))
        if len(rank.cores) < len(self.cores):
            self.cores.sort(reverse=True)
        for name in rank.gpus:
            free = self.gpus[name] + (1.0 if request.gpus >= 1 else request.gpus)
            self.gpus[name] = 1.0 if free > 1.0 - _EPSILON else free
        if request.memory and self.has.memory:
            self.memory += request.memory


_Key = tuple[Resources, str, float]


class _Class:
    """Tasks of one priority that need the same, in order."""

    __slots__ = ("blocked_since", "key", "request", "tasks")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.request = key[0]
        self.tasks: deque[tuple[int, Any]] = deque()
        self.blocked_since: float | None = None


class Scheduler:
    """Decides. It knows tasks as hashable objects only.

    Not thread-safe. Every method takes as long as there are classes, at most.
    """

    def __init__(
        self, nodes: Sequence[NodeResources], patience: float = 5.0, spread: bool = True
    ) -> None:
        """Begin with all resources free.

        Args:
            nodes: what there is.
            patience: for how many seconds a task that does not fit may be overtaken.
            spread: the ranks of a task may be on several nodes.
        """
        self.patience = patience
        self.spread = spread
        self._nodes: dict[int, _Node] = {}
        self._with_cores: dict[int, _Node] = {}  # those of which a core is free
        self._node_count = 0
        for node in nodes:
            self.add_node(node)
        self._classes: dict[int, dict[_Key, _Class]] = {}
        self._priorities: list[int] = []  # of classes that are there, the highest first
        self._where: dict[str, int] = {}
        self._removed: set[Hashable] = set()
        self._count = 0
        self.waiting = 0
        """How many tasks wait."""

    # What there is

    def add_node(self, has: NodeResources, end: float = _NEVER) -> int:
        """A node is there.

        Args:
            has: what it has; all of it is free.
            end: when it will go, on the clock of :meth:`next`.

        Returns:
            its number.
        """
        number = self._node_count
        self._node_count += 1
        self._nodes[number] = node = _Node(has, end)
        if node.cores:
            self._with_cores[number] = node
        return number

    def remove_node(self, number: int) -> None:
        """A node is gone. What tasks had there is gone, too."""
        del self._nodes[number]
        self._with_cores.pop(number, None)
        self._where = {word: node for word, node in self._where.items() if node != number}

    def close_node(self, number: int) -> None:
        """Start nothing on a node any more."""
        if number in self._nodes:
            self._nodes[number].end = -1.0

    def nodes(self) -> dict[int, NodeResources]:
        """The nodes that are there, by number."""
        return {number: node.has for number, node in self._nodes.items()}

    def impossible(self, request: Resources, also: Iterable[NodeResources] = ()) -> str | None:
        """Why a task could never run, even if all were free; ``None`` if it could.

        Args:
            request: what it needs.
            also: nodes that are still to come.
        """
        there = [*(node.has for node in self._nodes.values()), *also]
        empty = {number: _Node(has) for number, has in enumerate(there)}
        if self._fit(empty, request) is not None:
            return None
        has = max(there, key=lambda node: len(node.cores), default=NodeResources("", ()))
        most = f"{len(has.cores)} cores, {len(has.gpus)} GPUs"
        if has.memory:
            most += f" and {has.memory / 2**20:g} MiB"
        each = "each" if all(_same(has, node) for node in there) else "at most"
        text = f"it needs {request}, and there {_are(len(there))} with {most} {each}"
        if request.ranks > 1 and not self.spread and len(there) > 1:
            text += "; this engine cannot spread the ranks of a task over nodes"
        return text

    @property
    def idle_cores(self) -> bool:
        """Whether a core is free somewhere."""
        return bool(self._with_cores)

    def free(self) -> list[NodeResources]:
        """What is free. Of GPUs, those that nobody uses a part of."""
        return [
            NodeResources(
                node.has.name,
                tuple(sorted(node.cores)),
                tuple(name for name, free in node.gpus.items() if free == 1.0),
                node.memory,
            )
            for node in self._nodes.values()
        ]

    # Tasks

    def add(
        self,
        task: Hashable,
        request: Resources,
        priority: int = 0,
        kind: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Let a task wait.

        Args:
            task: it.
            request: what it needs.
            priority: tasks with a higher number go first.
            kind: see :meth:`next`.
            seconds: for so long a node must still be there; 0: that is not known.
        """
        classes = self._classes.get(priority)
        if classes is None:
            classes = self._classes[priority] = {}
            self._priorities = sorted(self._classes, reverse=True)
        key = (request, kind, seconds)
        found = classes.get(key)
        if found is None:
            found = classes[key] = _Class(key)
        self._count += 1
        found.tasks.append((self._count, task))
        self.waiting += 1

    def put_back(
        self,
        tasks: Sequence[Hashable],
        request: Resources,
        priority: int = 0,
        kind: str = "",
        seconds: float = 0.0,
    ) -> None:
        """Let tasks that did not run after all wait again, before all others of their class."""
        for task in tasks:
            self.add(task, request, priority, kind, seconds)
        queue = self._classes[priority][request, kind, seconds].tasks
        oldest = queue[0][0]
        last = [queue.pop()[1] for _ in tasks]
        queue.extendleft((oldest, task) for task in last)

    def remove(self, task: Hashable) -> None:
        """Forget a task that waits."""
        self._removed.add(task)
        self.waiting -= 1

    def clear(self) -> list[Any]:
        """Forget all tasks that wait; return them."""
        return self.take_out(lambda request: True)

    def take_out(self, which: Callable[[Resources], bool]) -> list[Any]:
        """Forget the tasks that wait and need what ``which`` says; return them."""
        found: list[Any] = []
        for priority in tuple(self._priorities):
            for group in tuple(self._classes[priority].values()):
                if not which(group.request):
                    continue
                for _, task in group.tasks:
                    if task in self._removed:
                        self._removed.discard(task)
                    else:
                        found.append(task)
                self._drop(priority, group)
        self.waiting -= len(found)
        return found

    def next(self, now: float, without: Collection[str] = ()) -> tuple[Any, Placement] | None:
        """The task to start now, and where; ``None``: nothing that waits fits.

        Args:
            now: the time in seconds, on any clock.
            without: kinds of tasks that cannot be started at present.
        """
        if not self.waiting:
            return None
        for priority in tuple(self._priorities):
            for group in self._oldest_first(priority):
                if group.key[1] in without:
                    continue
                until = now + group.key[2]
                if group.key[2] and not any(node.end >= until for node in self._nodes.values()):
                    continue  # it waits for a node that is still to come, and holds nobody up
                placement = self._place(group.request, until)
                if placement is not None:
                    group.blocked_since = None
                    return self._pop(priority, group), placement
                if group.blocked_since is None:
                    group.blocked_since = now
                elif now - group.blocked_since > self.patience:
                    return None
        return None

    def more(self, placement: Placement, priority: int, kind: str, limit: int) -> list[Any]:
        """Tasks to run after one of the same class, with what that has.

        There are none if something waits that is more urgent or older, or if it is known how long
        they take.

        Args:
            placement: what the task has.
            priority: its priority.
            kind: its kind.
            limit: how many at most.
        """
        if not self.waiting or self._priorities[0] != priority:
            return []
        groups = self._classes[priority]
        group = groups.get((placement.request, kind, 0.0))
        if group is None:
            return []
        others = (each.tasks[0][0] for each in groups.values() if each is not group and each.tasks)
        until = min(others, default=self._count + 1)
        found: list[Any] = []
        tasks, removed = group.tasks, self._removed
        while tasks and len(found) < limit and tasks[0][0] < until:
            task = tasks.popleft()[1]
            if task in removed:
                removed.discard(task)
                continue
            found.append(task)
        self.waiting -= len(found)
        if not tasks:
            self._drop(priority, group)
        return found

    def release(self, placement: Placement) -> None:
        """Take back what a task had."""
        for rank in placement.ranks:
            node = self._nodes.get(rank.node)
            if node is not None:
                node.give_back(rank, placement.request)
                self._with_cores[rank.node] = node

    def why_waiting(
        self, request: Resources, priority: int, kind: str, now: float, seconds: float = 0.0
    ) -> str:
        """Why a task of that class that waits does not run, for people."""
        group = self._classes.get(priority, {}).get((request, kind, seconds))
        ahead = sum(
            len(each.tasks)
            for level in self._priorities
            if level > priority
            for each in self._classes[level].values()
        )
        if ahead:
            return f"{ahead} tasks with a higher priority wait, too"
        if not self._nodes:
            return "no node is there yet"
        if self._fit_here(request, now + seconds) is not None:
            for each in self._priorities:
                for other in self._classes[each].values():
                    since = other.blocked_since
                    if other is not group and since is not None and now - since > self.patience:
                        return f"an older task that needs {other.request} must be started first"
            return "it is about to start"
        if self._fit_here(request, 0.0) is not None:
            return f"no node that has room for it will be there for {seconds:g} s, its time limit"
        lacking = self._lacking(request)
        others = len(group.tasks) - 1 if group else 0
        before = f", and {others} others wait for the same" if others else ""
        return f"it needs {request}; there is not enough of: {lacking}{before}"

    # Decisions

    def _oldest_first(self, priority: int) -> Iterator[_Class]:
        waiting = []
        for group in list(self._classes[priority].values()):
            while group.tasks and group.tasks[0][1] in self._removed:
                self._removed.discard(group.tasks.popleft()[1])
            if group.tasks:
                waiting.append(group)
            else:
                self._drop(priority, group)
        if len(waiting) > 1:
            waiting.sort(key=lambda group: group.tasks[0][0])
        return iter(waiting)

    def _pop(self, priority: int, group: _Class) -> Any:
        _, task = group.tasks.popleft()
        self.waiting -= 1
        if not group.tasks:
            self._drop(priority, group)
        return task

    def _drop(self, priority: int, group: _Class) -> None:
        """Forget a class that is empty."""
        del self._classes[priority][group.key]
        if not self._classes[priority]:
            del self._classes[priority]
            self._priorities.remove(priority)

    def _place(self, request: Resources, until: float) -> Placement | None:
        counts = self._fit_here(request, until)
        if counts is None:
            return None
        ranks = []
        for number, count in counts:
            node = self._nodes[number]
            ranks += [node.take(number, request) for _ in range(count)]
            if not node.cores:
                del self._with_cores[number]
        if request.colocate is not None:
            self._where.setdefault(request.colocate, ranks[0].node)
        return Placement(request, tuple(ranks))

    def _fit_here(self, request: Resources, until: float) -> list[tuple[int, int]] | None:
        """How many ranks go to which node, of those that are there until then."""
        nodes: Mapping[int, _Node] = self._with_cores
        if request.colocate is not None:
            if request.colocate in self._where:
                number = self._where[request.colocate]
                nodes = {number: self._nodes[number]}
            for number, node in nodes.items():
                fit = self._fit({number: node}, request, until)
                if fit is not None:
                    return fit
            return None
        return self._fit(nodes, request, until)

    def _fit(
        self, nodes: Mapping[int, _Node], request: Resources, until: float = 0.0
    ) -> list[tuple[int, int]] | None:
        """How many ranks go to which node; ``None`` if they do not fit."""
        if request.nodes is not None and request.nodes > 1:
            each = request.ranks // request.nodes
            chosen: list[tuple[int, int]] = []
            if self.spread:
                for number, node in nodes.items():
                    if node.end >= until and node.room(request) >= each:
                        chosen.append((number, each))
                        if len(chosen) == request.nodes:
                            return chosen
            return None
        found, left = [], request.ranks
        for number, node in nodes.items():
            room = node.room(request) if node.end >= until else 0
            if room >= request.ranks:
                return [(number, request.ranks)]
            if room and left:
                found.append((number, min(room, left)))
                left -= found[-1][1]
        return found if self.spread and request.nodes is None and not left else None

    def _lacking(self, request: Resources) -> str:
        words = []
        whole = Resources(ranks=request.ranks, cores=request.cores, nodes=request.nodes)
        if self._fit_here(whole, 0.0) is None:
            words.append("cores")
        gpus = Resources(ranks=request.ranks, gpus=request.gpus, nodes=request.nodes)
        if request.gpus and self._fit_here(gpus, 0.0) is None:
            words.append("GPUs")
        memory = Resources(ranks=request.ranks, memory=request.memory, nodes=request.nodes)
        if request.memory and self._fit_here(memory, 0.0) is None:
            words.append("memory")
        if not words:
            words.append("room on one node" if request.colocate or request.nodes else "all of it")
        return ", ".join(words)


def _are(count: int) -> str:
    return "is 1 node" if count == 1 else f"are {count} nodes"


def _same(one: NodeResources, other: NodeResources) -> bool:
    return (len(one.cores), len(one.gpus), one.memory) == (
        len(other.cores),
        len(other.gpus),
        other.memory,
    )

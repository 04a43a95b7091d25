"""The scheduler of tasks: no oversubscription, priorities, order, nobody starves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exaworks.tasks import NodeResources, Resources
from exaworks.tasks.scheduler import Placement, Scheduler

NODE = NodeResources("a", (0, 1, 2, 3), ("0", "1"), 1000)


def scheduler(*nodes: NodeResources, **more: Any) -> Scheduler:
    return Scheduler(nodes or [NODE], **more)


def started(plan: Scheduler, now: float = 0.0) -> list[Any]:
    """Start all that can be started."""
    found = []
    while (each := plan.next(now)) is not None:
        found.append(each)
    return found


def test_cores_are_taken_and_given_back() -> None:
    plan = scheduler()
    for name in "abc":
        plan.add(name, Resources(cores=2))
    (a, on_a), (b, on_b) = started(plan)
    assert (a, b) == ("a", "b")
    assert (on_a.ranks[0].cores, on_b.ranks[0].cores) == ((0, 1), (2, 3))
    assert plan.waiting == 1
    plan.release(on_a)
    ((c, on_c),) = started(plan)
    assert (c, on_c.ranks[0].cores) == ("c", (0, 1))
    plan.release(on_b)
    plan.release(on_c)
    assert plan.free() == [NODE]


def test_fractions_of_a_gpu_leave_whole_ones_whole() -> None:
    plan = scheduler()
    for name in "abc":
        plan.add(name, Resources(gpus=0.5))
    plan.add("whole", Resources(gpus=1))
    names = {task: on.ranks[0].gpus for task, on in started(plan)}
    assert names == {"a": ("0",), "b": ("0",), "c": ("1",)}
    assert "GPUs" in plan.why_waiting(Resources(gpus=1), 0, "", 0.0)


def test_memory_is_counted() -> None:
    plan = scheduler()
    plan.add("a", Resources(memory=600))
    plan.add("b", Resources(memory=600))
    plan.add("c", Resources(memory=400))
    assert [task for task, _ in started(plan)] == ["a", "c"]
    assert "memory" in plan.why_waiting(Resources(memory=600), 0, "", 0.0)


def test_higher_priorities_go_first_and_order_is_kept() -> None:
    plan = scheduler(NodeResources("a", (0,)))
    for name, priority in (("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", -1)):
        plan.add(name, Resources(), priority)
    order = []
    while plan.waiting:
        task, placement = plan.next(0.0)  # type: ignore[misc]
        order.append(task)
        plan.release(placement)
    assert order == ["b", "d", "a", "c", "e"]


def test_a_large_task_is_overtaken_but_not_for_ever() -> None:
    plan = scheduler(patience=5.0)
    plan.add("first", Resources(cores=1))
    ((_, running),) = started(plan)
    plan.add("large", Resources(cores=4))
    plan.add("small 1", Resources(cores=1))
    ((task, small),) = started(plan, 0.0)
    assert task == "small 1"
    plan.release(small)
    plan.add("small 2", Resources(cores=1))
    assert started(plan, 6.0) == []
    assert "older task" in plan.why_waiting(Resources(cores=1), 0, "", 6.0)
    plan.release(running)
    ((task, _),) = started(plan, 7.0)
    assert task == "large"


def test_ranks_and_nodes() -> None:
    nodes = [NodeResources(name, (0, 1, 2, 3)) for name in "abc"]
    plan = scheduler(*nodes)
    plan.add("spread", Resources(ranks=4, nodes=2, cores=2))
    plan.add("anywhere", Resources(ranks=4))
    found = dict(started(plan))
    assert [rank.node for rank in found["spread"].ranks] == [0, 0, 1, 1]
    assert [rank.node for rank in found["anywhere"].ranks] == [2, 2, 2, 2]


def test_tasks_with_the_same_word_run_on_the_same_node() -> None:
    plan = scheduler(*(NodeResources(name, (0, 1)) for name in "ab"))
    plan.add("filler", Resources())
    plan.add("x", Resources(cores=2, colocate="data"))
    plan.add("y", Resources(colocate="data"))
    found = dict(started(plan))
    assert "y" not in found
    assert [rank.node for rank in found["x"].ranks] == [1]
    plan.release(found["x"])
    assert [rank.node for rank in dict(started(plan))["y"].ranks] == [1]


@pytest.mark.parametrize(
    "request_",
    [
        Resources(cores=5),
        Resources(gpus=3),
        Resources(memory=1001),
        Resources(ranks=2, nodes=2),
        Resources(ranks=5),
    ],
)
def test_what_never_fits_is_known(request_: Resources) -> None:
    assert "there is 1 node with 4 cores" in str(scheduler().impossible(request_))


def test_tasks_to_run_behind_one_another() -> None:
    plan = scheduler(NodeResources("a", (0,)))
    for name in "abcde":
        plan.add(name, Resources())
    plan.remove("c")
    task, placement = plan.next(0.0)  # type: ignore[misc]
    assert plan.more(placement, 0, "", 2) == ["b", "d"]
    plan.add("urgent", Resources(), 1)
    assert plan.more(placement, 0, "", 2) == []
    assert (task, plan.waiting) == ("a", 2)


def test_tasks_that_are_put_back_keep_their_turn() -> None:
    plan = scheduler(NodeResources("a", (0,)))
    for name in "abcd":
        plan.add(name, Resources())
    _, placement = plan.next(0.0)  # type: ignore[misc]
    back = plan.more(placement, 0, "", 2)
    plan.put_back(back, Resources())
    assert plan.more(placement, 0, "", 9) == ["b", "c", "d"]
    assert plan.waiting == 0


requests = st.builds(
    Resources,
    ranks=st.integers(1, 3),
    cores=st.integers(1, 4),
    gpus=st.sampled_from([0, 0.25, 0.5, 1, 2]),
    memory=st.sampled_from([0, 10, 500, 1000]),
)


SMALL = NodeResources("b", (0, 1), ("0",), 500)


class Machine(RuleBasedStateMachine):
    """Whatever is added, removed and released: what is used was free, and no task is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {0: NODE, 1: SMALL}
        self.plan = scheduler(NODE, SMALL, patience=3.0)
        self.waiting: dict[int, Resources] = {}
        self.running: dict[int, Placement] = {}
        self.now = 0.0
        self.count = 0

    @rule(request=requests, priority=st.integers(-1, 1), kind=st.sampled_from(["", "x"]))
    def add(self, request: Resources, priority: int, kind: str) -> None:
        if self.plan.impossible(request):
            return
        self.count += 1
        self.plan.add(self.count, request, priority, kind)
        self.waiting[self.count] = request

    @rule()
    def start(self) -> None:
        for task, placement in started(self.plan, self.now):
            assert self.waiting.pop(task) == placement.request
            self.running[task] = placement

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(node=st.sampled_from([NODE, SMALL]))
    def come(self, node: NodeResources) -> None:
        self.nodes[self.plan.add_node(node)] = node

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A node goes, and with it what runs there; what can run nowhere any more is told."""
        number = data.draw(st.sampled_from(sorted(self.nodes)))
        del self.nodes[number]
        self.plan.remove_node(number)
        for task, placement in list(self.running.items()):
            if any(rank.node == number for rank in placement.ranks):
                self.plan.release(self.running.pop(task))
        for task in self.plan.take_out(lambda each: self.plan.impossible(each) is not None):
            del self.waiting[task]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.running)))
        self.plan.release(self.running.pop(task))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.waiting)))
        self.plan.remove(task)
        del self.waiting[task]

    @invariant()
    def nothing_is_used_twice(self) -> None:
        ranks = [(rank, p.request) for p in self.running.values() for rank in p.ranks]
        cores = [(rank.node, core) for rank, _ in ranks for core in rank.cores]
        assert len(cores) == len(set(cores))
        shares: dict[tuple[int, str], float] = {}
        memory: dict[int, int] = {}
        for rank, request in ranks:
            for gpu in rank.gpus:
                key = rank.node, gpu
                shares[key] = shares.get(key, 0.0) + min(1.0, request.gpus)
            memory[rank.node] = memory.get(rank.node, 0) + request.memory
        assert all(share <= 1.0 + 1e-6 for share in shares.values())
        assert all(used <= self.nodes[node].memory for node, used in memory.items())
        assert self.plan.waiting == len(self.waiting)

    def teardown(self) -> None:
        for _ in range(self.count + 1):
            for placement in self.running.values():
                self.plan.release(placement)
            self.running.clear()
            self.now += 100.0
            self.start()
        assert not self.waiting
        for placement in self.running.values():
            self.plan.release(placement)
        assert self.plan.free() == list(self.nodes.values())


def test_a_node_with_an_end() -> None:
    plan = scheduler()
    plan.close_node(0)
    short = plan.add_node(NODE, end=100.0)
    plan.add("long", Resources(), seconds=60.0)
    plan.add("short", Resources(), seconds=30.0)
    plan.add("unknown", Resources())
    assert {task for task, _ in started(plan, 50.0)} == {"short", "unknown"}
    why = plan.why_waiting(Resources(), 0, "", 50.0, 60.0)
    assert why == "no node that has room for it will be there for 60 s, its time limit"
    plan.add("later", Resources())
    assert [task for task, _ in started(plan, 80.0)] == ["later"]  # it holds nobody up
    plan.add("too late", Resources())
    assert started(plan, 101.0) == []
    other = plan.add_node(NODE)
    assert {p.ranks[0].node for _, p in started(plan, 101.0)} == {other} != {short}


def test_ranks_on_one_node_if_they_fit_there() -> None:
    plan = scheduler(NODE, SMALL, NODE)
    plan.add("filler", Resources(cores=3))
    plan.add("ranks", Resources(ranks=4))
    (_, (_, on)) = started(plan)
    assert {rank.node for rank in on.ranks} == {2}
    alone = scheduler(NODE, NODE, spread=False)
    assert alone.impossible(Resources(ranks=2, nodes=2)) is not None
    assert "cannot spread the ranks" in (alone.impossible(Resources(ranks=5)) or "")
    assert scheduler(NODE, NODE).impossible(Resources(ranks=5)) is None


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5]), max_size=40))
def test_shares_of_a_gpu_add_up_again(shares: list[float]) -> None:
    plan = scheduler(NodeResources("a", tuple(range(64)), ("0", "1")))
    for number, share in enumerate(shares):
        plan.add(number, Resources(gpus=share))
    while plan.waiting:
        for _, placement in started(plan):
            plan.release(placement)
    assert plan.free()[0].gpus == ("0", "1")

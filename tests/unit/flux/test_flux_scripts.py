"""The pieces of shell that run in jobs of Flux, run here by a real shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exaworks.psij import Job, JobSpec, Launcher, ResourceSpecV1
from exaworks.psij.executors.flux.task import Surroundings, make_task

# A command `flux` that writes down what it is asked, and knows the nodes of its job.
FLUX = """\
#!/bin/sh
case $2 in
memo) printf '%s %s %s\\n' "$FLUX_URI" "$3" "$4" >>"$ASKED" ;;
info) echo '{"version": 1, "execution": {"nodelist": [NODELIST], "starttime": 1.0}}' ;;
esac
"""


class Node:
    """What a task finds around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = folder / "asked"
        self.asked.touch()
        (folder / "run" / "bin").mkdir(parents=True)
        self.nodes('"n[08-10,12]","login"')

    def nodes(self, text: str) -> None:
        flux = self.folder / "run" / "bin" / "flux"
        flux.write_text(FLUX.replace("NODELIST", text))
        flux.chmod(0o755)

    @property
    def around(self) -> Surroundings:
        variables = {"PATH": os.environ["PATH"], "ASKED": str(self.asked)}
        return Surroundings(variables, str(self.folder), str(self.folder / "log"))

    def run(self, spec: JobSpec, rank: int = 0) -> subprocess.CompletedProcess[bytes]:
        """Run a task of a job."""
        launcher = Launcher.get_instance(spec.launcher or "single")
        task = make_task(Job(spec), launcher, self.around)
        environment = {
            **task.environment,
            "FLUX_URI": f"local://{self.folder}/run/local",
            "FLUX_JOB_ID": "fA",
            "FLUX_TASK_RANK": str(rank),
            "FLUX_TASK_LOCAL_ID": str(rank),
            "FLUX_JOB_SIZE": "4",
            "FLUX_JOB_TMPDIR": str(self.folder),
        }
        return subprocess.run(
            task.argv, env=environment, cwd=task.cwd, capture_output=True, timeout=30, check=False
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(tmp_path_factory.mktemp("node"))


words = st.text(st.characters(exclude_characters="\0"), max_size=30).map(
    lambda text: os.fsdecode(text.encode("utf-8", "surrogatepass")).replace("${", "$ {")
) | st.binary(max_size=20).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
special = st.sampled_from(["{{id}}", "{", "\\", "\\0", "'", '"', "%s", "\n", "$x", "`x`", ""])


@settings(max_examples=25, deadline=None)
@given(st.lists(words | special, max_size=4))
@pytest.mark.parametrize("launcher", [None, "mpirun", "multiple"])
def test_arguments_are_literal(
    shared_node: Node, launcher: str | None, arguments: list[str]
) -> None:
    spec = JobSpec("/usr/bin/printf", ["%s\\0", "x", *arguments], launcher=launcher)
    done = shared_node.run(spec)
    assert done.stdout == b"".join(os.fsencode(word) + b"\0" for word in ["x", *arguments])


@settings(max_examples=15, deadline=None)
@given(words | special)
def test_files_of_a_script(shared_node: Node, text: str) -> None:
    name = (text.replace("/", "_") or "x")[:60] + "."
    out = shared_node.folder / name
    done = shared_node.run(JobSpec("/bin/echo", ["told"], stdout_path=out))
    assert (done.returncode, out.read_bytes()) == (0, b"told\n")
    out.unlink()


def test_a_script_tells_what_went_wrong(node: Node) -> None:
    done = node.run(JobSpec("/bin/true", directory=node.folder / "none"))
    assert done.returncode == 1
    told = node.asked.read_text()
    assert told.startswith(f"local://{node.folder}/run/local fA exaworks_end=setup: cannot enter")
    assert str(node.folder / "none") in told


def test_a_script_tells_states(node: Node) -> None:
    (node.folder / "result").touch()
    spec = JobSpec("/bin/true", directory=node.folder, cleanup={"result"})
    assert node.run(spec).returncode == 0
    assert node.asked.read_text().split()[-1] == "exaworks_state=CLEANUP"
    assert not list((node.folder / "log").iterdir())


def test_a_log_is_kept_after_a_failure(node: Node) -> None:
    (node.folder / "pre").write_text("echo words; false\n")
    assert node.run(JobSpec("/bin/true", pre_launch=node.folder / "pre")).returncode == 1
    (log,) = (node.folder / "log").iterdir()
    assert log.read_text().startswith("words\n")


def test_a_job_that_cannot_log_runs_all_the_same(node: Node) -> None:
    (node.folder / "log").touch()
    (node.folder / "pre").touch()
    assert node.run(JobSpec("/bin/true", pre_launch=node.folder / "pre")).returncode == 0


def test_a_program_that_is_not_there(node: Node) -> None:
    done = node.run(JobSpec("no-such-program", directory=node.folder))
    assert done.returncode == 127
    assert node.asked.read_text().endswith("exaworks_end=launch: \n")


def test_only_the_first_node_runs_the_script(node: Node) -> None:
    needs = ResourceSpecV1(node_count=5)
    spec = JobSpec("/bin/echo", ["ran"], resources=needs, stdout_path=node.folder / "out")
    assert node.run(spec, rank=1).returncode == 0
    assert not (node.folder / "out").exists()
    assert node.run(spec).returncode == 0
    assert (node.folder / "out").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [
        ('"n[08-10,12]","login"', ["n08", "n09", "n10", "n12", "login"]),
        ('"a", "b","c[1-2]","d9"', ["a", "b", "c1", "c2", "d9"]),
        ('"vm,vm","r[1-2]c[1-2]"', ["vm", "vm", "r1c1", "r1c2", "r2c1", "r2c2"]),
    ],
)
def test_file_of_nodes(node: Node, nodelist: str, names: list[str]) -> None:
    node.nodes(nodelist)
    needs = ResourceSpecV1(node_count=len(names), processes_per_node=2)
    text = f'cat "$PSIJ_NODEFILE" >{node.folder}/out'
    assert node.run(JobSpec("/bin/sh", ["-c", text], resources=needs)).returncode == 0
    lines = (node.folder / "out").read_text().split()
    assert lines == [name for name in names for _ in range(2)]


def test_guard_of_parallel_tasks(node: Node) -> None:
    (node.folder / "in").write_text("input")
    text = 'echo "$_PSI_J_PROCESS_INDEX_/$_PSI_J_PROCESS_COUNT $(pwd) $(cat)"'
    spec = JobSpec(
        "/bin/sh", ["-c", text], directory=node.folder, stdin_path="in", launcher="multiple"
    )
    assert node.run(spec, rank=2).stdout.decode() == f"3/4 {node.folder.resolve()} input\n"
    spec.stdin_path = "none"
    assert node.run(spec).returncode == 1
    assert "exaworks_end=setup: cannot open the job's standard input" in node.asked.read_text()

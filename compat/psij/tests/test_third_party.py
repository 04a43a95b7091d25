"""Executors and launchers of third parties, written against psij's base classes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pystache", reason="pystache is not installed (psij-python[templates])")

# A batch system in a few lines of shell: a job is a file with its state; it starts at once.
QSUB = """#!/bin/sh
id=$(mktemp -d "$QUEUE/job.XXXXXX") || exit 1
echo R > "$id/state"
name=${id##*/}
(QID=$name setsid bash "$1" > /dev/null 2>&1; echo C > "$id/state") > /dev/null 2>&1 &
echo $! > "$id/pid"
echo "accepted $name"
"""
QSTAT = """#!/bin/sh
for id in "$QUEUE"/job.*; do
    [ "$(cat "$id/state")" = R ] && echo "${id##*/} R"
done
exit 0
"""
QDEL = """#!/bin/sh
[ "$(cat "$QUEUE/$1/state")" = R ] || exit 16
pkill -s "$(pgrep -P "$(cat "$QUEUE/$1/pid")")"
rm -rf "$QUEUE/$1"
"""

TEMPLATE = """#!/bin/bash
exec > "{{psij.script_dir}}/$QID.out" 2>&1
{{> batch_lib}}
{{#job.spec.directory}}
cd {{.}}
{{/job.spec.directory}}
{{#custom_attributes}}{{#queue}}
export {{key}}={{value}}
{{/queue}}{{/custom_attributes}}
{{#env}}
export {{name}}={{value}}
{{/env}}
{{> stagein}}
_psij_update_status ACTIVE
{{#psij.launch_command}}{{.}} {{/psij.launch_command}}
_PSIJ_JOB_EC=$?
{{> stageout}}
{{> cleanup}}
echo $_PSIJ_JOB_EC > "{{psij.script_dir}}/$QID.ec"
"""

EXECUTOR = """
from pathlib import Path
from psij import JobState, JobStatus, SubmitException
from psij.executors.batch.batch_scheduler_executor import (
    BatchSchedulerExecutor, BatchSchedulerExecutorConfig, InvalidJobStateError,
    check_status_exit_code,
)
from psij.executors.batch.script_generator import TemplatedScriptGenerator
from psij.launchers import MultipleLauncher

HERE = Path(__file__).parent


class QueueConfig(BatchSchedulerExecutorConfig):
    def __init__(self, launcher_log_file=None, work_directory=None, queue_polling_interval=1,
                 initial_queue_polling_delay=1, queue_polling_error_threshold=2, keep_files=False):
        super().__init__(launcher_log_file, work_directory, queue_polling_interval,
                         initial_queue_polling_delay, queue_polling_error_threshold, keep_files)


class QueueExecutor(BatchSchedulerExecutor):
    def __init__(self, url=None, config=None):
        config = config or QueueConfig()
        super().__init__(url=url, config=config)
        self.generator = TemplatedScriptGenerator(config, HERE / "queue.mustache")

    def generate_submit_script(self, job, context, submit_file):
        self.generator.generate_submit_script(job, context, submit_file)

    def get_submit_command(self, job, submit_file_path):
        return [str(HERE / "qsub"), str(submit_file_path.absolute())]

    def job_id_from_submit_output(self, out):
        return out.strip().split()[-1]

    def get_cancel_command(self, native_id):
        return [str(HERE / "qdel"), native_id]

    def process_cancel_command_output(self, exit_code, out):
        if exit_code == 16:
            raise InvalidJobStateError()
        raise SubmitException(out)

    def get_status_command(self, native_ids):
        return [str(HERE / "qstat")]

    def parse_status_output(self, exit_code, out):
        check_status_exit_code("qstat", exit_code, out)
        return {line.split()[0]: JobStatus(JobState.ACTIVE) for line in out.splitlines()}

    def get_list_command(self):
        return [str(HERE / "qstat")]

    def parse_list_output(self, out):
        return [line.split()[0] for line in out.splitlines()]

    def _clean_submit_script(self, job):
        super()._clean_submit_script(job)
        self._delete_aux_file(job, ".nodefile")


class LoudLauncher(MultipleLauncher):
    def __init__(self, config=None):
        super().__init__(HERE / "loud.sh", config)

    def get_additional_args(self, job):
        return [*super().get_additional_args(job), "loudly"]
"""

LAUNCHER = """#!/bin/bash
source "$(dirname "$0")/launcher_lib.sh"
count=$1 how=$2
shift 2
pre_launch
for i in $(seq "$count"); do echo "$how $("$@")"; done > "$_PSI_J_STDOUT" 2> "$_PSI_J_STDERR"
post_launch
exit 0
"""

DESCRIPTORS = """
from packaging.version import Version
from psij.descriptor import Descriptor

__PSI_J_EXECUTORS__ = [
    Descriptor(name="queue", nice_name="Queue", version=Version("0.1.0"), aliases=["q"],
               cls="a_queue.executor.QueueExecutor"),
    Descriptor(name="missing", version=Version("0.1.0"), cls="no_such_package.Executor"),
    Descriptor(name="elsewhere", version=Version("0.1.0"), cls="collections.OrderedDict"),
]
__PSI_J_LAUNCHERS__ = [
    Descriptor(name="loud", version=Version("0.1.0"), cls="a_queue.executor.LoudLauncher"),
]
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    package = root / "a_queue"
    package.mkdir(parents=True)
    (root / "psij-descriptors").mkdir()
    (root / "psij-descriptors" / "a_queue_descriptors.py").write_text(DESCRIPTORS)
    (root / "psij-descriptors" / "broken.py").write_text("raise RuntimeError('broken plugin')\n")
    (package / "__init__.py").write_text("")
    (package / "executor.py").write_text(EXECUTOR)
    (package / "queue.mustache").write_text(TEMPLATE)
    for name, text in (("qsub", QSUB), ("qstat", QSTAT), ("qdel", QDEL), ("loud.sh", LAUNCHER)):
        (package / name).write_text(text)
        (package / name).chmod(0o755)
    queue = tmp_path / "queue"
    queue.mkdir()
    monkeypatch.setenv("QUEUE", str(queue))
    monkeypatch.setenv("PYTHONPATH", str(root))
    return root


def run(code: str) -> str:
    """Run a program of a client in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from psij import *\n" + code], capture_output=True, text=True,
        timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("plugins")
def test_a_templated_executor_runs_jobs(tmp_path: Path) -> None:
    out = run(f"""
from psij.staging import StageIn, StageOut
open({str(tmp_path / "in")!r}, "w").write("staged")
ex = JobExecutor.get_instance("q")
print(ex.name, ex.version)
states = []
spec = JobSpec("/bin/sh", ["-c", "cat in; printf %s \\"$X$Y\\" > result; exit 3"],
               directory={str(tmp_path)!r} + "/job dir", stdout_path="out put",
               environment={{"X": "a 'b'"}},
               attributes=JobAttributes(custom_attributes={{"queue.Y": "$(y)"}}),
               stage_in={{StageIn({str(tmp_path / "in")!r}, "in")}},
               stage_out={{StageOut("result", {str(tmp_path / "result")!r})}},
               cleanup=["in"])
import os; os.mkdir({str(tmp_path)!r} + "/job dir")
job = Job(spec)
job.set_job_status_callback(lambda j, s: states.append(s.state.name))
ex.submit(job)
status = job.wait(60)
print(status.state, status.exit_code, *states)
again = Job()
JobExecutor.get_instance("queue").attach(again, job.native_id)
status = again.wait(60)
print(status.state, status.exit_code)
""")
    assert out.splitlines() == [
        "queue 0.1.0",
        "FAILED 3 QUEUED STAGE_IN ACTIVE STAGE_OUT CLEANUP FAILED",
        "FAILED 3",
    ]
    assert (tmp_path / "job dir" / "out put").read_text() == "staged"
    assert (tmp_path / "result").read_text() == "a 'b'$(y)"
    assert not (tmp_path / "job dir" / "in").exists()


@pytest.mark.usefixtures("plugins")
def test_cancel_list_and_lost_jobs(tmp_path: Path) -> None:
    out = run("""
ex = JobExecutor.get_instance("queue")
job = Job(JobSpec("/bin/sleep", ["300"]))
ex.submit(job)
job.wait(60, JobState.ACTIVE)
print(job.native_id in ex.list())
ex.cancel(job)
status = job.wait(60)
print(status.state, "does not list" in status.message, job.native_id in ex.list())
""")
    # this queue has no word for cancelled jobs: they are lost, and never COMPLETED
    assert out.splitlines() == ["True", "FAILED True False"]


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("executor", ["queue", "local"])
def test_a_script_based_launcher(tmp_path: Path, executor: str) -> None:
    run(f"""
open({str(tmp_path / "pre.sh")!r}, "w").write("export WHO=me")
spec = JobSpec("/bin/sh", ["-c", "echo hello $WHO"], stdout_path={str(tmp_path / "out")!r},
               pre_launch={str(tmp_path / "pre.sh")!r}, launcher="loud",
               resources=ResourceSpecV1(process_count=2))
job = Job(spec)
JobExecutor.get_instance({executor!r}).submit(job)
status = job.wait(60)
assert status.state == JobState.COMPLETED, status
""")
    assert (tmp_path / "out").read_text() == "loudly hello me\nloudly hello me\n"


@pytest.mark.usefixtures("plugins")
def test_plugins_that_cannot_be_loaded_say_why() -> None:
    out = run("""
print(sorted({"missing", "elsewhere", "queue"} & JobExecutor.get_executor_names()))
for name in ("missing", "elsewhere"):
    try:
        JobExecutor.get_instance(name)
    except ValueError as problem:
        print(name, "Unable to load executor" in str(problem))
""")
    assert out.splitlines() == ["['elsewhere', 'missing', 'queue']", "missing True",
                                "elsewhere True"]  # fmt: skip


@pytest.mark.usefixtures("plugins")
def test_a_failing_scheduler_fails_no_job(plugins: Path) -> None:
    out = run(f"""
import os
ex = JobExecutor.get_instance("queue")
job = Job(JobSpec("/bin/sh", ["-c", "sleep 4; exit 0"]))
ex.submit(job)
os.rename({str(plugins)!r} + "/a_queue/qstat", {str(plugins)!r} + "/a_queue/gone")
status = job.wait(60)
print(status.state, status.exit_code)
""")
    assert out.splitlines() == ["COMPLETED 0"]

"""Shell text: every byte means itself, in real shells."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exaworks.psij import Job, JobSpec, Launcher, ResourceSpecV1
from exaworks.psij.script import active_body, element, expand, quote

SHELLS = [s for s in ("/bin/sh", "/bin/bash") if shutil.which(s)]
# anything an operating system can be given: all bytes but NUL
anything = st.binary(max_size=40).filter(lambda b: b"\0" not in b).map(os.fsdecode)
special = st.text("${}AB'\"\\ \n`!*~#;&|<>()[]%\t=-", max_size=25)
words = anything | special
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda n: n not in ("_", "i", "PWD", "OLDPWD", "SHLVL", "IFS", "PATH", "PPID", "UID", "EUID",
                        "PS4",
                        "RANDOM", "SECONDS", "LINENO", "BASHPID", "GROUPS", "DIRSTACK", "OPTIND",
                        "FUNCNAME", "HISTCMD", "ENV", "BASH", "POSIXLY_CORRECT", "LC_ALL", "LANG")
    and not n.startswith(("_psij", "BASH", "LC_"))
)  # fmt: skip
SHOW = "/usr/bin/printf"


def sh(shell: str, text: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(
        [shell], input=os.fsencode(text), capture_output=True, env=env or {}, cwd=cwd, timeout=30
    )
    assert done.stderr == b"", done.stderr
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None)
@given(items=st.lists(words, max_size=4))
def test_quote(shell: str, items: list[str]) -> None:
    for one_line in (False, True):
        quoted = [quote(item, one_line) for item in items]
        if one_line:
            assert not any("\n" in q for q in quoted)
        text = f"_psij_nl='\n'\nset -- {' '.join(quoted)}\nfor i; do {SHOW} '%s\\0' \"$i\"; done\n"
        assert sh(shell, text) == b"".join(os.fsencode(item) + b"\0" for item in items)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None)
@given(
    arguments=st.lists(words, max_size=4),
    environment=st.dictionaries(names, words, max_size=3),
    one_line=st.booleans(),
)
def test_element_gives_the_job_exactly_its_arguments_and_environment(
    shell: str, arguments: list[str], environment: dict[str, str], one_line: bool
) -> None:
    # ${NAME} is replaced as expand() says, in the order of the variables; all else is literal
    variables: dict[str, str] = {"A": "va lue", "B": "$HOME `x` ${A}"}
    base = dict(variables)
    for name, value in environment.items():
        variables[name] = expand(value, variables)
    show = [f"{name}=%s\\0" for name in environment]
    probe = "for i; do printf '%s\\0' \"$i\"; done; " + "".join(
        f"printf '{s}' \"${n}\"; " for s, n in zip(show, environment, strict=True)
    )
    job = Job(JobSpec("/bin/sh", ["-c", probe, "sh", *arguments], environment=environment))
    lines = element(job, Launcher.get_instance("single"), "/", one_line=one_line)
    # the probe's own references are plain $NAME, which is never replaced
    if one_line:
        assert not any("\n" in line for line in lines)
        text = "_psij_nl='\n'\n" + "; ".join(lines) + "\n_psij_launch\n"
    else:
        text = "\n".join(lines) + "\n_psij_launch\n"
    expected = [expand(a, variables) for a in arguments]
    expected += [f"{name}={variables[name]}" for name in environment]
    got = sh(shell, text, base)
    assert got == b"".join(os.fsencode(e) + b"\0" for e in expected)


def test_names_that_no_shell_variable_can_have_reach_the_job() -> None:
    job = Job(JobSpec("/usr/bin/env", environment={"a.b-c": "x ${A}"}, inherit_environment=False))
    text = "\n".join([*element(job, Launcher.get_instance("single"), "/"), "_psij_launch", ""])
    assert b"a.b-c=x 1\n" in sh("/bin/sh", text, {"A": "1"})


def test_what_is_not_a_braced_name_is_never_expanded() -> None:
    literal = "$A $(date) `date` ${A:-x} ${1} ~ * ${A"
    assert expand(literal, {"A": "1"}) == literal
    assert expand("${A}${B}", {"A": "${B}"}) == "${B}${B}"


def run_body(
    spec: JobSpec, cwd: Path, shells: list[str] = SHELLS
) -> subprocess.CompletedProcess[str]:
    job = Job(spec)
    body = active_body(job, Launcher.get_instance(spec.launcher or "single"), str(cwd))
    results = [
        subprocess.run([shell, "-c", body], cwd=cwd, capture_output=True, text=True, timeout=30)
        for shell in shells
    ]
    assert len({(each.returncode, each.stdout) for each in results}) == 1, results
    return results[0]


def test_body_runs_scripts_around_the_job(tmp_path: Path) -> None:
    (tmp_path / "pre launch.sh").write_text("WHO=world; export WHO; echo from pre\n")
    (tmp_path / "post.sh").write_text("echo done > post-ran\n")
    spec = JobSpec(
        "/bin/echo", ["hello ${WHO}"], stdout_path="out put.txt",
        pre_launch=tmp_path / "pre launch.sh", post_launch=tmp_path / "post.sh",
    )  # fmt: skip
    done = run_body(spec, tmp_path)
    assert (done.returncode, done.stdout) == (0, "from pre\n")
    assert (tmp_path / "out put.txt").read_text() == "hello world\n"
    assert (tmp_path / "post-ran").exists()


@pytest.mark.parametrize("content", ["exit 5\n", "false\necho not reached\n", "(exit 5)\n"])
def test_a_failing_pre_launch_script_fails_the_job(tmp_path: Path, content: str) -> None:
    (tmp_path / "pre.sh").write_text(content)
    done = run_body(JobSpec("/bin/touch", ["ran"], pre_launch=tmp_path / "pre.sh"), tmp_path)
    assert done.returncode != 0
    assert "pre-launch script failed with exit code" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_post_launch_runs_after_a_failure_and_the_exit_code_is_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "post.sh").write_text("echo post > post\n")
    done = run_body(
        JobSpec("/bin/sh", ["-c", "exit 7"], post_launch=tmp_path / "post.sh"), tmp_path
    )
    assert done.returncode == 7
    assert (tmp_path / "post").exists()


def test_a_failing_post_launch_script_fails_the_job(tmp_path: Path) -> None:
    (tmp_path / "post.sh").write_text("exit 9\n")
    done = run_body(JobSpec("/bin/true", post_launch=tmp_path / "post.sh"), tmp_path)
    assert done.returncode == 9
    assert "post-launch script failed with exit code 9" in done.stderr


def test_missing_files_are_named(tmp_path: Path) -> None:
    done = run_body(JobSpec("/bin/true", pre_launch=tmp_path / "none.sh"), tmp_path)
    assert done.returncode == 1
    assert f"cannot read the pre-launch script {tmp_path}/none.sh" in done.stderr
    done = run_body(JobSpec("/bin/true", stdout_path="no/such/dir/out"), tmp_path)
    assert done.returncode != 0
    assert "cannot open the job's standard streams" in done.stderr
    assert "no/such/dir/out" in done.stderr


def test_death_by_signal_is_passed_on(tmp_path: Path) -> None:
    done = run_body(JobSpec("/bin/sh", ["-c", "ulimit -c 0; kill -SEGV $$"]), tmp_path)
    assert done.returncode == -11
    assert not list(tmp_path.glob("core*"))


def test_stdout_and_stderr_may_share_a_file(tmp_path: Path) -> None:
    spec = JobSpec(
        "/bin/sh", ["-c", "echo a; echo b >&2; echo c"], stdout_path="o", stderr_path="o"
    )
    assert run_body(spec, tmp_path).returncode == 0
    assert (tmp_path / "o").read_text() == "a\nb\nc\n"


def test_multiple_launcher(tmp_path: Path) -> None:
    spec = JobSpec(
        "/bin/sh", ["-c", 'echo "$_PSI_J_PROCESS_INDEX_ of $_PSI_J_PROCESS_COUNT"; cat'],
        stdin_path="in", stdout_path="out", launcher="multiple",
        resources=ResourceSpecV1(process_count=3),
    )  # fmt: skip
    (tmp_path / "in").write_text("")
    assert run_body(spec, tmp_path).returncode == 0
    assert sorted((tmp_path / "out").read_text().split("\n")[:-1]) == [
        "1 of 3", "2 of 3", "3 of 3",
    ]  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
def test_multiple_launcher_first_failure_decides(tmp_path: Path, shell: str) -> None:
    # copy 1 fails only when copy 2 has failed and the shell around it has told so and ended
    script = """
    case $_PSI_J_PROCESS_INDEX_ in
    1)
        while [ ! -s around ]; do :; done
        while :; do
            case $(ps -o stat= -p "$(cat around)") in Z* | "") exit 4 ;; esac
        done ;;
    2) echo "$PPID" > around.new; mv around.new around; exit 3 ;;
    esac
    """
    spec = JobSpec("/bin/sh", ["-c", script], launcher="multiple",
                   resources=ResourceSpecV1(process_count=3))  # fmt: skip
    assert run_body(spec, tmp_path, [shell]).returncode == 3


def test_scripts_that_call_exit_do_not_falsify_the_result(tmp_path: Path) -> None:
    (tmp_path / "exit.sh").write_text("exit 0\n")
    done = run_body(
        JobSpec("/bin/sh", ["-c", "exit 7"], post_launch=tmp_path / "exit.sh"), tmp_path
    )
    assert done.returncode == 7
    done = run_body(JobSpec("/bin/touch", ["ran"], pre_launch=tmp_path / "exit.sh"), tmp_path)
    assert done.returncode == 1
    assert "must not call exit" in done.stderr
    assert not (tmp_path / "ran").exists()

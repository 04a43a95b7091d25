"""POSIX shell text for jobs: quoting, variable references, and the body of a job script.

A job is described to the shell by its *element* (its directory, files, variables and launch
command, as assignments and a function), followed by a *body* that is the same for all jobs with
the same scripts and data movement. So the jobs of an array share one script, which reads its own
element from a file with one line for each job.

Source of the rules: POSIX.1-2017, Shell & Utilities, sections 2.2 (quoting) and 2.6.2 (parameter
expansion).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from exaworks.psij.job import Job
from exaworks.psij.job_launcher import Launcher, PrefixLauncher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.staging import URI, StageOutFlags
from exaworks.psij.validate import command, directory, expand_home

__all__ = [
    "active_body",
    "batch_body",
    "cleanup_script",
    "element",
    "expand",
    "quote",
    "stage_in_script",
    "stage_out_script",
    "staged",
]

_STAGED = "exaworks-staged"

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAFE = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")


def quote(text: str, one_line: bool = False) -> str:
    """One word of shell that means exactly ``text``.

    Args:
        text: any text without NUL; bytes that are not UTF-8 as surrogate escapes.
        one_line: write newlines as ``$_psij_nl``, so that the word fits on one line.
    """
    if _SAFE.fullmatch(text):
        return text
    quoted = shlex.quote(text)
    return quoted.replace("\n", "'\"$_psij_nl\"'") if one_line else quoted


def references(text: str) -> list[str]:
    """The names of the variables that ``text`` refers to as ``${NAME}``."""
    return _REFERENCE.findall(text)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace each ``${NAME}`` by the value of that variable, where there is one.

    Source: PSI/J specification, "JobSpec.setEnvironment": simple substitution with brace syntax.
    """
    return _REFERENCE.sub(lambda m: variables.get(m[1], m[0]), text)


def _word(text: str, one_line: bool) -> str:
    """Shell that means ``text`` with each ``${NAME}`` replaced when the shell gets there."""
    parts = _REFERENCE.split(text)
    words = []
    for index, part in enumerate(parts):
        if index % 2:
            words.append(f'"${{{part}-$_psij_ref_{part}}}"')
        elif part:
            words.append(quote(part, one_line))
    return "".join(words) or "''"


def launch_words(job: Job, launcher: Launcher, one_line: bool = False) -> list[str]:
    """The launch command as words of shell."""
    assert job.spec is not None
    if isinstance(launcher, PrefixLauncher):
        literal, rest = launcher.prefix(job), command(job.spec)
    else:
        literal, rest = [], launcher.get_launch_command(job)
    return [quote(w, one_line) for w in literal] + [_word(w, one_line) for w in rest]


def element(
    job: Job,
    launcher: Launcher,
    cwd: str,
    exports: bool = True,
    one_line: bool = False,
) -> list[str]:
    """The lines of shell that describe one job.

    Args:
        job: the job, checked.
        launcher: its launcher.
        cwd: the directory to run in if the job names none; it need not exist where the job runs.
        exports: set the job's environment variables too.
        one_line: no line contains a newline (``_psij_nl`` must hold one).
    """
    spec = job.spec
    assert spec is not None
    environment = (spec.environment or {}) if exports else {}
    words = [*command(spec), *environment.values()]
    names = sorted({name for word in words for name in references(word)})
    base = directory(spec)
    lines = [f"_psij_ref_{name}='${{{name}}}'" for name in names]
    lines.append(f"_psij_directory={quote(str(base or cwd), one_line)}")
    lines.append(f"_psij_directory_given={int(base is not None)}")
    if not launcher.wraps_everything:
        for stream in ("stdin", "stdout", "stderr"):
            path: Path | None = getattr(spec, f"{stream}_path")
            text = "/dev/null" if path is None else _plain_path(path)
            lines.append(f"_psij_{stream}={quote(text, one_line)}")
    odd: list[str] = []
    for name, value in environment.items():
        if _NAME.fullmatch(name):
            lines.append(f"export {name}={_word(value, one_line)}")
        else:  # the shell cannot hold such a variable, but env(1) can pass it on
            odd.append(f"{quote(name, one_line)}={_word(value, one_line)}")
    words = [*(["env", *odd] if odd else []), *launch_words(job, launcher, one_line)]
    lines.append(f"_psij_launch() {{ {' '.join(words)}; }}")
    return lines


def _plain_path(path: Path) -> str:
    return str(expand_home(path))


# What a script does when something other than the job itself goes wrong.
_FAIL = """\
_psij_fail() {
    _psij_message=$1
    echo "$1" >&2
    exit "${2:-1}"
}
"""

_STAGE = """\
_psij_stage() { # SOURCE TARGET copy|link|move MISSING_OK
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then
        [ "$4" = 1 ] && return 0
        _psij_fail "cannot stage $1: there is no such file"
    fi
    case $2 in
    */*) mkdir -p -- "${2%/*}/" || _psij_fail "cannot make the directory of $2" ;;
    esac
    if [ -d "$2" ] && { [ "$3" != copy ] || [ ! -d "$1" ]; }; then
        _psij_fail "cannot stage $1: the target $2 is a directory"
    fi
    case $3 in
    copy)
        if [ -d "$1" ]; then
            { mkdir -p -- "$2" && cp -R -- "$1/." "$2"; }
        else
            cp -- "$1" "$2"
        fi
        ;;
    link)
        case $1 in
        /*) rm -f -- "$2" && ln -s -- "$1" "$2" ;;
        *) rm -f -- "$2" && ln -s -- "$PWD/$1" "$2" ;;
        esac
        ;;
    move) mv -f -- "$1" "$2" ;;
    esac || _psij_fail "cannot $3 $1 to $2"
}
"""

# The physical parent must be inside the job's directory, so that a symbolic link in the middle
# of a path leads nowhere else. Removing a link removes the link only.
_REMOVE = """\
_psij_remove() { # PATH
    _psij_top=$(pwd -P)
    _psij_parent=$(cd -P -- "$(dirname -- "$1")" 2>/dev/null && pwd -P) || return 0
    case $_psij_parent/ in
    "$_psij_top"/*) rm -rf -- "$1" || _psij_fail "cannot remove $1" ;;
    *) _psij_fail "will not remove $1: it is outside the job's directory $_psij_top" ;;
    esac
}
"""

_CD = """\
if ! cd -- "$_psij_directory" 2>/dev/null && [ "$_psij_directory_given" = 1 ]; then
    _psij_fail "cannot enter the job's directory $_psij_directory on $(hostname): \
it must exist and be accessible there" 1
fi
"""

_OUTCOMES = (
    (StageOutFlags.ON_SUCCESS, "success"),
    (StageOutFlags.ON_ERROR, "error"),
    (StageOutFlags.ON_CANCEL, "cancel"),
)


def _when(flags: StageOutFlags, action: str) -> str:
    outcomes = "|".join(name for flag, name in _OUTCOMES if flags & flag)
    return f"case $PSIJ_OUTCOME in {outcomes}) {action} ;; esac"


def _source(path: Path) -> str:
    return os.path.abspath(expand_home(path))


def staged(direction: str, number: int) -> URI:
    """A place for a file on its way from or to another machine.

    Scripts find it below ``$_psij_staged_in`` or ``$_psij_staged_out``.

    Args:
        direction: ``"in"`` or ``"out"``.
        number: which file.
    """
    return URI(f"{_STAGED}:{direction}/{number}")


def _place(uri: URI) -> str:
    """A word of shell for the location of a file."""
    if uri.scheme == _STAGED:
        direction, _, number = uri.path.partition("/")
        return f'"$_psij_staged_{direction}"/{number}'
    return quote(os.path.abspath(uri.path))


def _stage_in_lines(spec: JobSpec) -> list[str]:
    lines = []
    for item in sorted(spec.stage_in, key=lambda i: (str(i.target), str(i.source))):
        mode = item.mode.name.lower()
        lines.append(f"_psij_stage {_place(item.source)} {quote(str(item.target))} {mode} 0")
    return lines


def _stage_out_lines(spec: JobSpec) -> list[str]:
    lines = []
    for item in sorted(spec.stage_out, key=lambda i: (str(i.source), str(i.target))):
        optional = int(bool(item.flags & StageOutFlags.IF_PRESENT))
        # The streams are those of the element, so that all elements of an array have the same text.
        source = quote(str(item.source))
        for stream in ("stdout", "stderr"):
            if item.source == getattr(spec, f"{stream}_path") and not item.source.is_absolute():
                source = f'"$_psij_{stream}"'
        action = f"_psij_stage {source} {_place(item.target)} {item.mode.name.lower()} {optional}"
        lines.append(_when(item.flags, action))
    return lines


def _cleanup_lines(spec: JobSpec) -> list[str]:
    paths = sorted(str(path) for path in spec.cleanup)
    return [_when(spec.cleanup_flags, f"_psij_remove {quote(path)}") for path in paths]


def stage_in_script(spec: JobSpec) -> str:
    """A script that stages in, to be run in the job's directory."""
    return "\n".join([_FAIL + _STAGE, *_stage_in_lines(spec), ""])


def stage_out_script(spec: JobSpec) -> str:
    """A script that stages out. ``PSIJ_OUTCOME`` tells it what became of the job."""
    return "\n".join([_FAIL + _STAGE, *_stage_out_lines(spec), ""])


def cleanup_script(spec: JobSpec) -> str:
    """A script that cleans up. ``PSIJ_OUTCOME`` tells it what became of the job."""
    return "\n".join([_FAIL + _REMOVE, *_cleanup_lines(spec), ""])


def _sourced(path: Path, what: str) -> list[str]:
    file = quote(_source(path))
    return [
        f"_psij_phase={what}",
        f"[ -r {file} ] || _psij_fail {quote(f'cannot read the {what} script {_source(path)}')}",
        "set -e",
        f". {file}",
        "set +e",
    ]


# Descriptors are opened by exec before the launch, so that a file that cannot be opened ends the
# script (in some shells by itself) and is not mistaken for a failure of the job.
_REDIRECTED = """\
_psij_phase=redirect
exec 6<"$_psij_stdin" || exit 1
exec 7>"$_psij_stdout" || exit 1
if [ "$_psij_stderr" = "$_psij_stdout" ]; then exec 8>&7; else exec 8>"$_psij_stderr" || exit 1; fi
_psij_phase=launch
[ "${_psij_term:-0}" = 0 ] || exit 143 # it was sent SIGTERM before there was a job to get it
_psij_launch <&6 >&7 2>&8 6<&- 7>&- 8>&-
_psij_code=$?
_psij_launched=$_psij_code
exec 6<&- 7>&- 8>&-
"""

_UNWRAPPED = """\
_psij_phase=launch
[ "${_psij_term:-0}" = 0 ] || exit 143
_psij_launch
_psij_code=$?
"""


def _active_lines(spec: JobSpec, launcher: Launcher) -> list[str]:
    if launcher.wraps_everything:
        return [_UNWRAPPED]
    lines: list[str] = []
    if spec.pre_launch is not None:
        lines += _sourced(spec.pre_launch, "pre-launch")
    lines.append(_REDIRECTED)
    if spec.post_launch is not None:
        lines += _sourced(spec.post_launch, "post-launch")
        lines.append("_psij_phase=end")
    return lines


# A sourced script that fails or calls exit, and a redirection that fails, end the job script at
# once; this tells what it was in, and does not let an exit 0 pass for a success of the job.
_BLAME = """\
    if [ "$_psij_phase" = pre-launch ] && [ "$_psij_code" -eq 0 ]; then
        _psij_code=1
        _psij_message="the pre-launch script ended the job: it must not call exit"
        echo "$_psij_message" >&2
    elif [ "$_psij_phase" = post-launch ] && [ "$_psij_code" -eq 0 ]; then
        _psij_code=$_psij_launched
        _psij_phase=end
    elif [ "$_psij_code" -ne 0 ] && [ -z "$_psij_message" ]; then
        case $_psij_phase in
        pre-launch | post-launch)
            _psij_message="the $_psij_phase script failed with exit code $_psij_code" ;;
        redirect)
            _psij_code=1
            _psij_message="cannot open the job's standard streams: $_psij_stdin (in), \
$_psij_stdout (out), $_psij_stderr (error)" ;;
        esac
        [ -z "$_psij_message" ] || echo "$_psij_message" >&2
    fi
"""

# A shell reports a child killed by signal n as 128 + n. The script dies of the same signal, so
# that whoever started it (the keeper, the scheduler) sees what happened to the job.
_LEAVE = """\
    if [ "$_psij_phase" = launch ] || [ "$_psij_phase" = end ]; then
        if [ "$_psij_code" -gt 128 ] && [ "$_psij_code" -le 159 ]; then
            ulimit -c 0
            trap - TERM
            kill -s "$(kill -l "$_psij_code")" "$$"
        fi
    fi
    exit "$_psij_code"
"""


def active_body(job: Job, launcher: Launcher, cwd: str) -> str:
    """A whole script for the ACTIVE phase of a job on this machine.

    Its environment is that of the job already; it is started in the job's directory. What it
    prints comes from the pre- and post-launch scripts, or says why the job could not be run.
    """
    spec = job.spec
    assert spec is not None
    head = [
        "_psij_message=",
        "_psij_phase=setup",
        _FAIL.rstrip(),
        "_psij_exit() {\n    _psij_code=$?\n    trap - EXIT\n" + _BLAME + _LEAVE + "}",
        "trap _psij_exit EXIT",
        *element(job, launcher, cwd, exports=False),
    ]
    return "\n".join([*head, *_active_lines(spec, launcher), 'exit "$_psij_code"', ""])


def batch_body(spec: JobSpec, launcher: Launcher, limit: int | None) -> str:
    """The body of a batch script: everything after directives, hooks and the element.

    It expects the shell functions ``_psij_event STATE`` (told of each state the job enters) and
    ``_psij_record CODE TERM MESSAGE`` (called once, at the end: exit code, whether the script was
    sent SIGTERM (0 or 1), and a message or nothing), and then the element, which must have been
    read before. The script ends with the job's own exit code, or dies of the job's signal.

    Args:
        spec: the specification, of which only scripts and data movement are used.
        launcher: the launcher.
        limit: the walltime in seconds, if there is one: SIGTERM after that time is no
            cancellation.
    """
    stage_in, stage_out = _stage_in_lines(spec), _stage_out_lines(spec)
    cleanup = _cleanup_lines(spec)
    parts = [
        "_psij_message=\n_psij_term=0\n_psij_phase=setup\n_psij_begun=$(command -p date +%s)",
        f"_psij_limit={limit or 0}",
        _FAIL.rstrip(),
    ]
    if stage_in or stage_out:
        parts.append(_STAGE.rstrip())
    if cleanup:
        parts.append(_REMOVE.rstrip())
    after: list[str] = []
    for state, lines in (("STAGE_OUT", stage_out), ("CLEANUP", cleanup)):
        if lines:
            function = f"_psij_{state.lower()}"
            parts.append(_function(function, lines))
            after.append(f"        _psij_event {state}\n        _psij_after {function}")
    if after:
        parts.append(_AFTER.rstrip())
    parts.append(
        "_psij_exit() {\n    _psij_code=$?\n    trap - EXIT\n"
        + _BLAME
        + (_OUTCOME + "\n".join(after) + "\n    fi\n" if after else "")
        + '    _psij_record "$_psij_code" "$_psij_term" "$_psij_message"\n'
        + _LEAVE
        + "}"
    )
    parts.append("trap _psij_exit EXIT\ntrap '_psij_term=1' TERM")
    parts.append(_CD.rstrip())
    if stage_in:
        parts += ["_psij_event STAGE_IN", *stage_in]
    parts += ["_psij_event ACTIVE", *_active_lines(spec, launcher), 'exit "$_psij_code"', ""]
    return "\n".join(parts)


_OUTCOME = """\
    if [ "$_psij_phase" != setup ]; then
        PSIJ_OUTCOME=success
        [ "$_psij_code" -eq 0 ] || PSIJ_OUTCOME=error
        if [ "$_psij_term" = 1 ]; then
            PSIJ_OUTCOME=cancel
            _psij_ran=$(($(command -p date +%s) - _psij_begun))
            if [ "$_psij_limit" -gt 0 ] && [ "$_psij_ran" -ge "$_psij_limit" ]; then
                PSIJ_OUTCOME=error
            fi
        fi
        export PSIJ_OUTCOME
"""

_AFTER = """\
_psij_after() { # FUNCTION: its failure is the job's, unless the job has failed already
    _psij_error=$("$1" 2>&1) && return
    echo "$_psij_error" >&2
    if [ "$_psij_code" -eq 0 ]; then _psij_code=1 _psij_message=$_psij_error _psij_phase=$1; fi
}
"""


def _function(name: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{name}() {{\n{body}\n}}"

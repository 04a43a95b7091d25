"""Stand-ins for the commands of LSF, Cobalt and NQSV: they run job scripts on this machine."""

from __future__ import annotations

from pathlib import Path

# An LSF job is a file named by its id, which holds STAT, EXIT_CODE and EXIT_REASON.
_BSUB = r"""#!/bin/bash
D=%(folder)s
cat >"$D/script.$$"
echo "$@" >>"$D/calls"
[ ! -e "$D/down" ] || { echo "LSF is down. Please wait ..." >&2; exit 255; }
[ ! -e "$D/busy" ] || echo "Cannot connect to LSF. Please wait ..."
all=$(sed -n 's/^#BSUB //p' "$D/script.$$"; printf '%%s ' "$@")
case $all in *"-q bad"*) echo "bad: No such queue. Job not submitted." >&2; exit 255 ;; esac
if [ -e "$D/limit" ]; then
    echo "User <$USER>: Pending job threshold reached. Retrying in 60 seconds..." >&2
    exit 255
fi
exec 9>"$D/lock"; flock 9
id=$(($(cat "$D/next") + 1)); echo $id >"$D/next"
last=$(sed -n 's/^#BSUB -J .*\[1-\([0-9]*\)\]$/\1/p' "$D/script.$$")
name=$(sed -n 's/^#BSUB -J //p' "$D/script.$$")
[ "$1" != -J ] || name=$2
clean=
case $all in *"-env none"*) clean="env -i HOME=$HOME PATH=$PATH" ;; esac
start() { # JOB INDEX
    echo "RUN" >"$D/jobs/$1"
    echo "$name" >"$D/names/$1"
    date '+%%b %%e %%H:%%M' >"$D/times/$1"
    $clean env LSB_JOBID=$id LSB_MCPU_HOSTS="node1 2" LSB_JOBINDEX=$2 \
        setsid "$D/bin/start" "$D/script.$$" "$1" </dev/null >/dev/null 2>&1 9>&- &
}
if [ -n "$last" ]; then
    for i in $(seq "$last"); do start "$id[$i]" "$i"; done
else
    start "$id" 0
fi
echo "Job <$id> is submitted to default queue <normal>."
"""

_START_LSF = r"""#!/bin/bash
# It leads the group of processes that signals are sent to, and outlives them.
D=%(folder)s
trap : INT TERM
echo $$ >"$D/pids/$2"
bash "$1" >/dev/null 2>&1
code=$?
case $code in
0) word="DONE - -" ;;
*) word="EXIT $code $(cat "$D/why.$2" 2>/dev/null || echo -)" ;;
esac
echo "$word" >"$D/jobs/$2.new"; mv "$D/jobs/$2.new" "$D/jobs/$2"
"""

_BJOBS = r"""#!/bin/bash
D=%(folder)s
echo "$@" >>"$D/queries"
[ ! -e "$D/down" ] || { echo "LSF is down. Please wait ..." >&2; exit 255; }
[ ! -e "$D/busy" ] || echo "LSF is processing your request. Please wait ..."
case "$*" in *"-u nobody"*) echo "No unfinished job found" >&2; exit 255 ;; esac
echo '{'; echo '  "COMMAND":"bjobs",'; echo '  "JOBS":1,'; echo '  "RECORDS":['
comma=
cd "$D/jobs" && for job in *; do
    case $job in *.new | '*') continue ;; esac
    index=${job#*[}; [ "$index" != "$job" ] || index=0
    read -r stat code reason <"$job"
    [ "$code" != - ] || code=; [ "$reason" != - ] || reason=
    echo "$comma{\"JOBID\":\"${job%%%%[*}\",\"JOBINDEX\":\"${index%%]}\",\"STAT\":\"$stat\","
    echo "\"EXIT_CODE\":\"$code\",\"EXIT_REASON\":\"$reason\",\"EXEC_HOST\":\"2*node1\","
    echo "\"USER\":\"$(id -un)\",\"JOB_NAME\":\"$(cat "$D/names/$job")\","
    echo "\"SUBMIT_TIME\":\"$(cat "$D/times/$job")\",\"START_TIME\":\"$(cat "$D/times/$job")\"}"
    comma=,
done
echo '{"JOBID":"1","ERROR":"Job <1> is not found"}' | sed "s/^/$comma/"
echo '  ]'; echo '}'
"""

# It insists, as the real ones do: SIGTERM may have come to a shell that was about to start the job.
_STOP = r"""#!/bin/bash
# LEADER: end its group of processes, but not the leader
kill -TERM -- "-$1" 2>/dev/null
{
    sleep 2
    for each in $(pgrep -g "$1"); do [ "$each" = "$1" ] || kill -KILL "$each"; done
} </dev/null >/dev/null 2>&1 &
"""

_BKILL = r"""#!/bin/bash
D=%(folder)s
for job in "$@"; do
    [ -e "$D/pids/$job" ] || { echo "Job <$job>: No matching job found" >&2; bad=255; continue; }
    echo "TERM_OWNER: job killed by owner" >"$D/why.$job"
    echo "Job <$job> is being terminated"
    kill -INT -- "-$(cat "$D/pids/$job")"
    "$D/bin/stop" "$(cat "$D/pids/$job")"
done
exit ${bad:-0}
"""

_LSID = "#!/bin/sh\necho 'IBM Spectrum LSF 10.1.0.15'\necho 'My cluster name is fake'\n"

# A Cobalt job is a file named by its id; it goes when the job has ended.
_COBALT_QSUB = r"""#!/bin/bash
D=%(folder)s
echo "$@" >>"$D/calls"
script=${!#}
[ -x "$script" ] || { echo "command $script is not executable" >&2; exit 1; }
all=$(sed -n 's/^#COBALT //p' "$script"; printf '%%s\n' "$@")
case $all in *"--queue=bad"*)
    echo "component error: XMLRPC failure <Fault 1001: \"Queue 'bad' does not exist\">" >&2
    exit 1 ;;
esac
log=$(printf '%%s\n' "$all" | sed -n 's/^--output=//p')
exec 9>"$D/lock"; flock 9
id=$(($(cat "$D/next") + 1)); echo $id >"$D/next"
echo running >"$D/jobs/$id"
echo "Job routed to queue \"default\"." >&2
setsid env -i HOME="$HOME" PATH=/usr/bin:/bin COBALT_JOBID=$id COBALT_PARTSIZE=1 COBALT_JOBSIZE=1 \
    "$D/bin/start" "$script" "$log" "$id" </dev/null >/dev/null 2>&1 9>&- &
echo $id
"""

_START = r"""#!/bin/bash
D=%(folder)s
trap : INT TERM
echo $$ >"$D/pids/$3"
if [ -e "$D/late" ]; then
    "$1" >>"$2" 2>&1 &
    "$D/bin/late" "$2" $!
else
    "$1" >>"$2" 2>&1
fi
rm -f "$D/jobs/$3"
"""

_LATE_COBALT = r"""#!/bin/bash
until grep -q ready %(folder)s/begun 2>/dev/null; do sleep 0.05; done
echo "Info: maximum execution time exceeded; initiating job termination" >>"$1"
kill -TERM $2; pkill -TERM -P $2
while kill -0 $2 2>/dev/null; do sleep 0.05; done
"""

_COBALT_QSTAT = r"""#!/bin/bash
D=%(folder)s
case "$*" in *-Q*) echo "Name  Users  MaxUserNodes"; exit ;; esac
found=1
case "$*" in -u*) found=0 ;; esac
cd "$D/jobs" && for id in *; do
    [ -e "$id" ] || continue
    found=0
    printf 'JobID: %%s\n    State      : %%s\n    Location   : node1\n\n' "$id" "$(cat "$id")"
done
exit $found
"""

_COBALT_QDEL = r"""#!/bin/bash
D=%(folder)s
for id in "$@"; do
    echo killing >"$D/jobs/$id"
    "$D/bin/stop" "$(cat "$D/pids/$id")"
    rm -f "$D/jobs/$id"
done
echo "      Deleted Jobs"
"""

_NQSV_QSUB = r"""#!/bin/bash
D=%(folder)s
echo "$@" >>"$D/calls"
script=${!#}
all=$(sed -n 's/^#PBS //p' "$script"; echo "$*")
case $all in *"-q bad"*) echo "No such queue. Request not queued." >&2; exit 1 ;; esac
log=$(printf '%%s\n' "$all" | sed -n 's/^-o //p' | head -n 1)
last=$(printf '%%s\n' "$all" | sed -n 's/^-t 1-//p')
case $all in *"EXAWORKS_OWN_LOG=1"*) export EXAWORKS_OWN_LOG=1 ;; esac
exec 9>"$D/lock"; flock 9
id=$(($(cat "$D/next") + 1)); echo $id >"$D/next"
start() { # JOB
    echo RUN >"$D/jobs/$1.nqsv"
    PBS_JOBID="0:$1.nqsv" setsid "$D/bin/start" "$script" "$log" "$1.nqsv" \
        </dev/null >/dev/null 2>&1 9>&- &
}
if [ -n "$last" ]; then
    for i in $(seq "$last"); do PBS_SUBREQNO=$i start "$id[$i]"; done
    echo "Request $id[].nqsv submitted to queue: gen_S."
else
    start "$id"
    echo "Request $id.nqsv submitted to queue: gen_S."
fi
"""

_LATE_NQSV = r"""#!/bin/bash
until grep -q ready %(folder)s/begun 2>/dev/null; do sleep 0.05; done
pkill -KILL -P $2; kill -KILL $2
printf '\n%%%%NQSV(INFO): Batch job received signal SIGKILL. ' >>"$1"
echo "(Exceeded per-req elapse time limit)" >>"$1"
"""

_NQSV_QSTAT = r"""#!/bin/bash
D=%(folder)s
case "$*" in *-R*) exit ;; *-n*) ;; *) echo "RequestID STT" ;; esac
cd "$D/jobs" && for id in *; do [ ! -e "$id" ] || echo "$id $(cat "$id")"; done
exit 0
"""

_NQSV_QDEL = r"""#!/bin/bash
D=%(folder)s
for id in "$@"; do
    kill -KILL -- "-$(cat "$D/pids/$id")"
    rm -f "$D/jobs/$id"
done
"""

LSF = {
    "bsub": _BSUB, "start": _START_LSF, "bjobs": _BJOBS, "bkill": _BKILL, "lsid": _LSID,
    "stop": _STOP,
}  # fmt: skip
COBALT = {
    "qsub": _COBALT_QSUB, "start": _START, "qstat": _COBALT_QSTAT, "qdel": _COBALT_QDEL,
    "late": _LATE_COBALT, "stop": _STOP,
}  # fmt: skip
NQSV = {
    "qsub": _NQSV_QSUB, "start": _START, "qstat": _NQSV_QSTAT, "qdel": _NQSV_QDEL,
    "late": _LATE_NQSV,
}  # fmt: skip


class FakeScheduler:
    """Where a stand-in keeps its state, in files."""

    def __init__(self, folder: Path, commands: dict[str, str]) -> None:
        self.folder = folder
        for name in ("bin", "jobs", "names", "pids", "times"):
            (folder / name).mkdir(parents=True)
        (folder / "next").write_text("100")
        for name, text in commands.items():
            path = folder / "bin" / name
            path.write_text(text % {"folder": f"'{folder}'"})
            path.chmod(0o755)

    def set(self, name: str, value: object = "") -> None:
        """Switch a behaviour on."""
        (self.folder / name).write_text(str(value))

    def unset(self, name: str) -> None:
        """Switch it off."""
        (self.folder / name).unlink()

    def lines(self, name: str) -> list[str]:
        """What the commands have noted."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

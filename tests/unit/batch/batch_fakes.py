"""A stand-in for Slurm's commands: it runs job scripts on this machine, and can be broken."""

from __future__ import annotations

from pathlib import Path

_SBATCH = r"""#!/bin/sh
# One submission at a time gets an id; the script then runs on its own.
D=%(folder)s
echo $$ >"$D/sbatch/$$"
cat >"$D/script.$$"
env >"$D/env.$$"
echo "$@" >>"$D/calls"
ls "$D/sbatch" | wc -l >>"$D/concurrent"
[ ! -e "$D/slow" ] || sleep "$(cat "$D/slow")"
rm "$D/sbatch/$$"
fail() { echo "sbatch: error: $1" >&2; exit 1; }
[ ! -e "$D/down" ] || fail "Batch job submission failed: Unable to contact slurm controller"
case $(cat "$D/script.$$") in *"--partition=bad"*) fail "invalid partition specified: bad" ;; esac
last=$(sed -n 's/^#SBATCH --array=0-//p' "$D/script.$$")
exec 9>"$D/lock"; flock 9
if [ -e "$D/limit" ]; then
    busy=$(ls "$D/run" | wc -l)
    [ $((busy + ${last:-0} + 1)) -le "$(cat "$D/limit")" ] || fail "AssocMaxSubmitJobLimit"
fi
id=$(($(cat "$D/next") + 1)); echo $id >"$D/next"
log=$(sed -n 's/^#SBATCH --output=//p' "$D/script.$$")
export SLURM_JOB_ID=$id SLURM_JOB_NODELIST=node1 SLURM_CLUSTER_NAME=fake
start() { # ELEMENT
    echo "$log" >"$D/run/$id$1"
    setsid "$D/bin/start" "$D/script.$$" "$log" "$1" </dev/null >/dev/null 2>&1 9>&- &
}
if [ -n "$last" ]; then for i in $(seq 0 "$last"); do start "_$i"; done; else start ""; fi
echo $id
"""

_START = r"""#!/bin/sh
D=%(folder)s
[ ! -e "$D/wait" ] || sleep "$(cat "$D/wait")"
[ -z "$3" ] || export SLURM_ARRAY_JOB_ID=$SLURM_JOB_ID SLURM_ARRAY_TASK_ID=${3#_}
sh "$1" >"$(echo "$2" | sed "s/%%a/${3#_}/")" 2>&1
rm -f "$D/run/$SLURM_JOB_ID$3"
"""

_SQUEUE = r"""#!/bin/sh
D=%(folder)s
date +%%s.%%N >>"$D/queries"
if [ -e "$D/down" ]; then
    echo "slurm_load_jobs error: Unable to contact slurm controller" >&2
    exit 1
fi
[ ! -e "$D/blind" ] || exit 0
[ ! -e "$D/garbage" ] || cat "$D/garbage"
cd "$D/run" && for id in *; do
    [ -e "$id" ] || continue
    case "$*" in
    *%%T*) echo "$id|RUNNING" ;;
    *STDOUT*) echo "$id|$(cat "$D/run/$id")" ;;
    *) echo "$id|RUNNING|0|0|node1|None|" ;;
    esac
done
"""

_SCONTROL = r"""#!/bin/sh
[ ! -e %(folder)s/down ] || { echo "Unable to contact slurm controller" >&2; exit 1; }
[ "$1" != ping ] || { echo "Slurmctld(primary) at here is UP"; exit; }
echo "ClusterName = fake"
echo "MaxArraySize = $(cat %(folder)s/array)"
"""

_SACCT = """#!/bin/sh
echo "Slurm accounting storage is disabled" >&2
exit 1
"""

_SCANCEL = r"""#!/bin/sh
echo "$@" >>%(folder)s/cancelled
"""


class FakeSlurm:
    """Where the stand-in keeps its state, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "run", "sbatch"):
            (folder / name).mkdir(parents=True)
        (folder / "next").write_text("100")
        (folder / "array").write_text("1001")
        for name, text in {
            "sbatch": _SBATCH, "squeue": _SQUEUE, "scontrol": _SCONTROL, "sacct": _SACCT,
            "scancel": _SCANCEL, "start": _START,
        }.items():  # fmt: skip
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

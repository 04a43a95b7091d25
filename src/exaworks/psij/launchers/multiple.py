"""The launcher for several copies of a program on one node."""

from __future__ import annotations

from exaworks.psij.job import Job
from exaworks.psij.job_launcher import PrefixLauncher
from exaworks.psij.validate import resources

__all__ = ["MultipleLauncher"]

# The copies report their exit codes through a pipe, in the order in which they end, because a
# POSIX shell cannot wait for whichever child ends next. Descriptors 3, 4 and 5 carry the job's own
# streams past that pipe.
_MULTIPLE = """\
exec 3<&0 4>&1
_PSI_J_PROCESS_COUNT=$0
export _PSI_J_PROCESS_COUNT
code=$(
    i=1
    while [ "$i" -le "$0" ]; do
        (
            _PSI_J_PROCESS_INDEX_=$i
            export _PSI_J_PROCESS_INDEX_
            exec 5>&1
            "$@" <&3 >&4 3<&- 4>&- 5>&- &
            wait "$!"
            echo "$?" >&5
        ) &
        i=$((i + 1))
    done | {
        first=0
        while read -r each; do
            [ "$first" -ne 0 ] || first=$each
        done
        echo "$first"
    }
)
exit "$code"
"""


class MultipleLauncher(PrefixLauncher):
    """Starts ``process_count`` copies on the lead node; the first failure decides the exit code.

    Each copy finds its number, from 1, in ``_PSI_J_PROCESS_INDEX_`` and the count in
    ``_PSI_J_PROCESS_COUNT``. All run to their end, also when one has failed.
    """

    def prefix(self, job: Job) -> list[str]:
        """A shell with the loop."""
        return ["/bin/sh", "-c", _MULTIPLE, str(resources(job).computed_process_count)]

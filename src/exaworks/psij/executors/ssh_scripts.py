"""The shell text that stands in for a scheduler on a machine that has none.

A job is a session of its own, whose first process waits for the job's script and notes how it
ended. Its id is the number of that process and the time of its start, so that no other process is
ever taken for it, and its folder is::

    ~/.exaworks/ssh/<machine>/<id>/
        log         the file that the script prints to
        boot        which run of the machine it belongs to
        about       when it was started, in seconds since the epoch, and its name
        held        exists as long as it must not start
        begun       exists if it has started
        cancel      exists if it was to be cancelled
        timeout     exists if it ran for too long
        end         how it ended: a word and the exit code

POSIX.1-2017, Shell & Utilities, is all that the text needs, and setsid(1) or perl to begin a
session.
"""

from __future__ import annotations

__all__ = [
    "CANCEL",
    "DETAILS",
    "HOLD",
    "JOB",
    "LIST",
    "LOGS",
    "QUERY",
    "RELEASE",
    "SITE",
    "SUBMIT",
]

_TOP = "top=${EXAWORKS_HOME:-$HOME/.exaworks}/ssh/$(uname -n)\n"

# Sets `started` to when the process $1 was started, or to nothing if there is none. The 22nd field
# of /proc/PID/stat (proc(5)) is the 20th behind the program's name, which may contain anything.
_STARTED = """\
booted() { # names this run of the machine
    cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown
}
started() {
    started=
    if [ -r /proc/self/stat ]; then
        { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
        set -- ${line##*) }
        [ "$1" = Z ] || started=${20}
    else
        line=$(LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null) || return 0
        started=$(printf %s "$line" | cksum)
        started=${started%% *}
    fi
}
"""

# Sets `word` and `code` for the job $1.
_STATE = """\
state() {
    word= code=0
    [ -d "$top/$1" ] || return 0
    if [ -e "$top/$1/end" ]; then
        read -r word code <"$top/$1/end"
        return 0
    fi
    started "${1%-*}"
    if [ "$started" = "${1#*-}" ]; then
        word=RUNNING
        [ -e "$top/$1/begun" ] || word=HELD
    elif [ -z "$started" ] && [ "$(cat "$top/$1/boot")" = "$(booted)" ] &&
        kill -0 "-${1%-*}" 2>/dev/null; then
        word=RUNNING # its first process was killed, but others of the job are still there
    elif [ -e "$top/$1/timeout" ]; then
        word=TIMEOUT code=137
    elif [ -e "$top/$1/cancel" ]; then
        word=CANCELED code=137
    else
        word=KILLED code=137
    fi
}
"""

_JOB = """\
top=$1 script=$2 limit=$3 environment=$4 held=$5 name=$6 log=$7
started $$
EXAWORKS_JOB=$$-$started
EXAWORKS_JOB_FOLDER=$top/$EXAWORKS_JOB
export EXAWORKS_JOB EXAWORKS_JOB_FOLDER
mkdir -- "$EXAWORKS_JOB_FOLDER" || exit 1
printf "%s\\n" "$log" >"$EXAWORKS_JOB_FOLDER/log"
booted >"$EXAWORKS_JOB_FOLDER/boot"
[ "$held" = no ] || : >"$EXAWORKS_JOB_FOLDER/held"
printf "%s %s\\n" "$(date +%s)" "$name" >"$EXAWORKS_JOB_FOLDER/about"
printf "%s %s\\n" "${EXAWORKS_INDEX:-0}" "$EXAWORKS_JOB" >&3
exec 3>&-
trap : HUP INT TERM
while [ -e "$EXAWORKS_JOB_FOLDER/held" ] && [ ! -e "$EXAWORKS_JOB_FOLDER/cancel" ]; do
    sleep 1
done
if [ -e "$EXAWORKS_JOB_FOLDER/cancel" ]; then
    echo "CANCELED 143" >"$EXAWORKS_JOB_FOLDER/end"
    exit 0
fi
: >"$EXAWORKS_JOB_FOLDER/begun"
watch=
if [ "$limit" -gt 0 ]; then
    (
        sleep "$limit" &
        trap "kill -KILL $! 2>/dev/null; exit 0" USR1
        trap : TERM
        if wait $!; then
            : >"$EXAWORKS_JOB_FOLDER/timeout"
            kill -TERM -$$
            sleep 5
            kill -KILL -$$
        fi
    ) &
    watch=$!
fi
if [ "$environment" = all ]; then
    "$script"
else
    set --
    for name in HOME LOGNAME USER SHELL PATH $(env | sed -n "s/^\\(EXAWORKS_[A-Z]*\\)=.*/\\1/p"); do
        eval "set -- \\"\\$@\\" \\"$name=\\${$name-}\\""
    done
    env -i "$@" "$script"
fi
code=$?
word=ENDED
if [ -e "$EXAWORKS_JOB_FOLDER/timeout" ]; then
    word=TIMEOUT
elif [ -e "$EXAWORKS_JOB_FOLDER/cancel" ]; then
    word=CANCELED
fi
printf "%s %s\\n" "$word" "$code" >"$EXAWORKS_JOB_FOLDER/end.new"
mv -f -- "$EXAWORKS_JOB_FOLDER/end.new" "$EXAWORKS_JOB_FOLDER/end"
[ -z "$watch" ] || kill -USR1 "$watch" 2>/dev/null
kill -KILL -$$ # whatever else the job has started
"""

# Arguments: the text for a job, the script, the log without its end, the time limit in seconds,
# "all" or "none" of the variables, the number of elements (0: no array), "yes" or "no" for held,
# the name.
SUBMIT = (
    _TOP
    + """\
mkdir -p -- "$top" || exit 1
if [ -z "$(find "$top/swept" -mtime -1 2>/dev/null)" ]; then # what ended a month ago, once a day
    : >"$top/swept"
    find "$top" -name end -mtime +30 -exec sh -c 'for f; do rm -rf -- "${f%/end}"; done' sh {} + \\
        </dev/null >/dev/null 2>&1 &
fi
if command -v setsid >/dev/null; then
    session() { exec setsid "$@"; }
else
    session() { exec perl -e "use POSIX; POSIX::setsid(); exec @ARGV" "$@"; }
fi
start() { # LOG
    [ -d "${1%/*}" ] || mkdir -p -- "${1%/*}" || exit 1
    session /bin/sh -c "$job" exaworks-job \\
        "$top" "$script" "$limit" "$environment" "$held" "$name" "$1" \\
        </dev/null >"$1" 2>&1 &
}
job=$1 script=$2 stem=$3 limit=$4 environment=$5 count=$6 held=$7 name=$8
# cat ends when every job has told its id
{
    if [ "$count" -eq 0 ]; then
        start "$stem.log"
    else
        EXAWORKS_INDEX=0
        export EXAWORKS_INDEX
        while [ "$EXAWORKS_INDEX" -lt "$count" ]; do
            start "${stem}_$EXAWORKS_INDEX.log"
            EXAWORKS_INDEX=$((EXAWORKS_INDEX + 1))
        done
    fi
} 3>&1 >/dev/null | cat
"""
)
JOB = _STARTED + _JOB
"""For the first process of a job."""

_EACH = "while read -r id; do\n    {}\ndone\n"
_ALL = 'cd -- "$top" 2>/dev/null || exit 0\nfor id in *-*; do\n    {}\ndone\n'

# Ids come on standard input, one a line.
QUERY = (
    _TOP
    + _STARTED
    + _STATE
    + _EACH.format('state "$id"; [ -z "$word" ] || printf "%s %s %s\\n" "$id" "$word" "$code"')
    + "echo end\n"
)

# An argument: the user whose jobs are asked for, if not anybody's.
DETAILS = (
    "owner=$(id -un)\n"
    '[ "${1:-$owner}" = "$owner" ] || exit 0\n'
    "printf 'owner %s\\n' \"$owner\"\n"
    + _TOP
    + _STARTED
    + _STATE
    + _EACH.format(
        'state "$id"; [ -n "$word" ] || continue\n'
        '    printf "%s %s %s %s\\n" "$id" "$word" "$code" "$(cat "$top/$id/about")"'
    )
)

CANCEL = (
    _TOP
    + _STARTED
    + _STATE
    + "ids=\n"
    + _EACH.format(
        'state "$id"\n'
        "    case $word in RUNNING | HELD) ;; *) continue ;; esac\n"
        '    : >"$top/$id/cancel"; kill -TERM "-${id%-*}" 2>/dev/null\n'
        '    ids="$ids $id"'
    )
    + """\
[ -z "$ids" ] || (
    trap '' HUP
    sleep 5
    for id in $ids; do
        state "$id"
        case $word in RUNNING | HELD) kill -KILL "-${id%-*}" ;; esac
    done
) </dev/null >/dev/null 2>&1 &
"""
)

HOLD = (
    _TOP
    + _STARTED
    + _STATE
    + "code_of_all=0\n"
    + _EACH.format(
        'state "$id"\n'
        '    if [ "$word" = HELD ]; then : >"$top/$id/held"; continue; fi\n'
        '    echo "job $id has started already" >&2; code_of_all=1'
    )
    + 'exit "$code_of_all"\n'
)

RELEASE = _TOP + _EACH.format('rm -f -- "$top/$id/held"')

LIST = (
    _TOP
    + _STARTED
    + _STATE
    + _ALL.format('state "$id"; case $word in RUNNING | HELD) echo "$id" ;; esac')
    + "true\n"
)

LOGS = (
    _TOP
    + _ALL.format(
        '[ -e "$id/log" ] && [ ! -e "$id/end" ] && printf "%s %s\\n" "$id" "$(cat "$id/log")"'
    )
    + "true\n"
)

SITE = "uname -n\n"

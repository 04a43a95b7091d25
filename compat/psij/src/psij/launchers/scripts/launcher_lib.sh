# Sourced by launcher scripts (bash). Takes the first seven arguments of the script.
set -e
_PSI_J_JOB_ID=$1
_PSI_J_LOG_FILE=${2:-/dev/null}
_PSI_J_PRE_LAUNCH=$3
_PSI_J_POST_LAUNCH=$4
_PSI_J_STDIN=$5
_PSI_J_STDOUT=$6
_PSI_J_STDERR=$7
shift 7

log() {
    TZ=UTC printf '%(%Y-%m-%d %H:%M:%S)T %s %s\n' -1 "$_PSI_J_JOB_ID" "$*" >> "$_PSI_J_LOG_FILE"
}

pre_launch() {
    if [ -n "$_PSI_J_PRE_LAUNCH" ]; then
        log "pre-launch: $_PSI_J_PRE_LAUNCH"
        source "$_PSI_J_PRE_LAUNCH"
    fi
}

post_launch() {
    if [ -n "$_PSI_J_POST_LAUNCH" ]; then
        log "post-launch: $_PSI_J_POST_LAUNCH"
        source "$_PSI_J_POST_LAUNCH"
    fi
}

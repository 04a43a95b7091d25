#!/bin/bash
# A real HTCondor pool on one machine with Debian 12. Needs root; needs no systemd.
#
#   condor.sh install          make a chroot of a newer Debian, and install HTCondor in it
#   condor.sh start            start it; what runs already is left alone
#   condor.sh status           one line a daemon, then the slots; succeeds if all is up
#   condor.sh stop             stop the daemons and their jobs
#   condor.sh purge            stop, and remove all files
#   condor.sh env              print what a shell needs to use it: eval "$(condor.sh env)"
#
# To see how programs cope with failures (HTCondor itself starts them again):
#   condor.sh crash-schedd     SIGKILL the daemon that has the queue
#   condor.sh crash-startd     SIGKILL the daemon that runs jobs, and the jobs
#
# Debian 12 has no HTCondor. That of a newer Debian runs in a chroot, in namespaces of its own that
# share /tmp and /home; its tools are also used from outside. HTCondor runs no jobs of root: they
# are submitted by the user CONDOR_USER, who is made if need be. The folder must be below /tmp.
#
# Settings, from the environment:
: "${CONDOR_ROOT:=/tmp/exaworks-condor}" # the folder for everything; others must be able to enter it
: "${CONDOR_SUITE:=trixie}"              # the Debian
: "${CONDOR_PORT:=18950}"                # where the collector listens
: "${CONDOR_CPUS:=32}"                   # cores that the machine claims to have
: "${CONDOR_MEMORY:=64000}"              # MiB that it claims to have
: "${CONDOR_USER:=exauser}"              # who submits jobs
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
NAME=condor.sh
R=$CONDOR_ROOT CHROOT=$CONDOR_ROOT/chroot HOST=$CONDOR_ROOT/host
CONF=$R/etc/condor_config
DAEMONS="condor_master condor_collector condor_negotiator condor_schedd condor_startd"
TOOLS="submit q rm hold release history status qedit version config_val userprio"

# The server that apt takes this machine's packages from.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1
}

do_install() {
    local file
    need_packages debootstrap util-linux procps
    mkdir -p "$R"
    chmod 755 "$R"
    if [ ! -x "$CHROOT/usr/bin/apt-get" ]; then
        rm -rf "$CHROOT.new"
        debootstrap --variant=minbase "$CONDOR_SUITE" "$CHROOT.new" "$(mirror)" \
            >"$R/debootstrap.log" 2>&1 || die "no chroot, see $R/debootstrap.log"
        mv "$CHROOT.new" "$CHROOT"
    fi
    if [ ! -x "$CHROOT/usr/sbin/condor_master" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$CHROOT/usr/sbin/policy-rc.d" # no daemons yet
        chmod 755 "$CHROOT/usr/sbin/policy-rc.d"
        cat /etc/resolv.conf >"$CHROOT/etc/resolv.conf" 2>/dev/null
        for file in /etc/apt/apt.conf.d/*proxy*; do
            [ ! -e "$file" ] || cp "$file" "$CHROOT/etc/apt/apt.conf.d/"
        done
        chroot "$CHROOT" sh -c 'apt-get update -qq; DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends minicondor procps' \
            >"$R/install.log" 2>&1 || die "no HTCondor, see $R/install.log"
        rm -rf "$CHROOT"/var/cache/apt/archives/*.deb
    fi
    chroot "$CHROOT" dpkg-query -W condor 2>/dev/null
}

# The chroot knows the user under the same number.
configure() {
    local file ids
    mkdir -p "$R"/etc "$R"/bin "$R"/local/{log,spool,execute,lock,run,cred} || die "cannot use $R"
    chmod 755 "$R" "$R/etc" "$R/bin" "$R/local" "$R"/local/*
    id "$CONDOR_USER" >/dev/null 2>&1 ||
        { useradd --create-home "$CONDOR_USER" && : >"$R/user"; } ||
        die "cannot make the user $CONDOR_USER"
    for file in passwd group; do
        sed -i "/^$CONDOR_USER:/d" "$CHROOT/etc/$file"
        grep "^$CONDOR_USER:" "/etc/$file" >>"$CHROOT/etc/$file"
    done
    ids=$(awk -F: '$1 == "condor" { print $3 "." $4 }' "$CHROOT/etc/passwd")
    chown -R "${ids/./:}" "$R"/local/{log,spool,lock,run,cred}
    chown "${ids/./:}" "$R/local/execute"
    sed -e "s|@ROOT@|$R|g" -e "s|@PORT@|$CONDOR_PORT|g" -e "s|@CPUS@|$CONDOR_CPUS|g" \
        -e "s|@MEMORY@|$CONDOR_MEMORY|g" -e "s|@IDS@|$ids|g" \
        "$HERE/condor/condor_config.in" >"$CONF"
    make_tools
}

# The tools of the chroot for use outside of it: started with its own dynamic linker.
make_tools() {
    local tool libraries=$CHROOT/usr/lib/x86_64-linux-gnu
    for tool in $TOOLS; do
        cat >"$R/bin/condor_$tool" <<-END
	#!/bin/sh
	export CONDOR_CONFIG=$CONF
	exec $CHROOT/usr/lib64/ld-linux-x86-64.so.2 \\
	    --library-path $libraries:$CHROOT/usr/lib:$CHROOT/usr/lib/condor \\
	    $CHROOT/usr/bin/condor_$tool "\$@"
	END
        chmod 755 "$R/bin/condor_$tool"
    done
}

# The chroot's / must be a mount point: HTCondor mounts it again for each job.
mount_all() {
    in_host "$HOST" sh -ec "
        mount --make-rprivate / 2>/dev/null || true
        mount --bind $CHROOT $CHROOT
        mount --rbind /dev $CHROOT/dev
        mount -t proc proc $CHROOT/proc
        mount --rbind /sys $CHROOT/sys
        mount --bind /home $CHROOT/home
        mount --bind /tmp $CHROOT/tmp
        cat /etc/hosts >$CHROOT/etc/hosts"
}

runs() { in_host "$HOST" pgrep -x "${1:0:15}"; } # names of processes have 15 characters
has_slot() { "$R/bin/condor_status" -af Name 2>/dev/null | grep -q .; }

do_start() {
    need_root
    case $R in /tmp/*) ;; *) die "CONDOR_ROOT must be below /tmp" ;; esac
    [ -x "$CHROOT/usr/sbin/condor_master" ] || die "not installed; run: $0 install"
    exec 9>"${R%/}.lock"
    flock 9
    reserve_ports "$CONDOR_PORT" "$CONDOR_PORT"
    if ! alive "$HOST/unshare.pid" unshare; then
        configure
        spawn_host "$(hostname)" "$HOST" /etc/hosts
        mount_all || die "cannot mount into the chroot"
    fi
    if ! runs condor_master >/dev/null; then
        in_host "$HOST" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin CONDOR_CONFIG="$CONF" \
            chroot "$CHROOT" condor_master 9>&- >>"$R/master.log" 2>&1 ||
            die "condor_master did not start, see $R/master.log"
    fi
    until_ok 90 has_slot || die "there is no slot, see $R/local/log"
    until_ok 30 "$R/bin/condor_q" || die "the queue does not answer, see $R/local/log/SchedLog"
    say "up: jobs are submitted as $CONDOR_USER"
}

do_status() {
    local all=0 daemon
    for daemon in $DAEMONS; do
        if runs "$daemon" >/dev/null 2>&1; then echo "$daemon up"; else
            echo "$daemon DOWN"
            all=1
        fi
    done
    [ "$all" = 0 ] && "$R/bin/condor_status"
}

do_stop() {
    alive "$HOST/unshare.pid" unshare || { say "it does not run"; return 0; }
    # This ends the jobs, too.
    in_host "$HOST" pkill -QUIT -x condor_master 2>/dev/null
    until_ok 15 eval '! runs condor_master' || say "condor_master did not end in time"
    kill_host "$HOST"
    say "stopped"
}

do_purge() {
    do_stop
    [ ! -e "$R/user" ] || userdel -r "$CONDOR_USER" 2>/dev/null
    rm -rf --one-file-system "${R:?}" "${R%/}.lock"
}

case ${1:-} in
install) do_install ;;
start) do_start ;;
status) do_status ;;
stop) do_stop ;;
purge) do_purge ;;
env)
    echo "export CONDOR_CONFIG=$CONF EXAWORKS_TEST_USER=$CONDOR_USER"
    echo "export PATH=$R/bin:\$PATH"
    ;;
crash-schedd) in_host "$HOST" pkill -9 -x condor_schedd ;;
crash-startd) in_host "$HOST" pkill -9 -x condor_startd ;;
*) usage ;;
esac

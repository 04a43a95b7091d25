#!/bin/bash
# Runs tests as another user, for schedulers that take no jobs of root:
#
#   tests/as_user.sh USER PYTEST-ARGUMENTS...
#
# The user gets a copy of the sources and a virtual environment of Debian's Python in a new folder
# below /tmp, which is removed at the end. Needs root.
set -eu
cd "$(dirname "$0")/.."
user=$1
shift
folder=$(mktemp -d /tmp/exaworks-as-user-XXXXXX)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cp -r pyproject.toml README.md src tests "$folder"
/usr/bin/python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet pytest pytest-timeout pytest-xdist hypothesis "$folder"
chown -R "$user:" "$folder"
cd "$folder"
runuser -u "$user" -- env PYTHONPATH="$folder/src" "$folder/venv/bin/pytest" "$@"

#!/bin/sh
# Prints the path of the newest Python on this machine that LinearNexus runs on; exits with 1 if there is none.
# Usage: sh scripts/find_python.sh [VERSION...]   for example: sh scripts/find_python.sh 3.12 3.11
#
# A name on PATH proves nothing: a pyenv shim may point nowhere, and Debian's python3 may come without venv. So each one is run.
[ $# -gt 0 ] || set -- 3.14 3.13 3.12 3.11

works() {
    "$1" -c "
import sys
if '%d.%d' % sys.version_info[:2] != '$2': sys.exit(1)
import ensurepip, venv
print(sys.executable)" 2>/dev/null
}

for version in "$@"; do
    for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python python3; do
        works "$python" "$version" && exit 0
    done
done
exit 1

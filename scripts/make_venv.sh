#!/bin/sh
# Makes a virtual environment, or says in one sentence what is missing.
# Usage: sh scripts/make_venv.sh PYTHON FOLDER
python=$1
folder=$2

fail() {
    echo "$1" >&2
    exit 1
}

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
case $version in
    "") problem="'$python' does not run here" ;;
    2.* | 3.[0-9] | 3.10) problem="'$python' is Python $version" ;;
    *) problem= ;;
esac
if [ -n "$problem" ]; then
    if newer=$(sh "$(dirname "$0")/find_python.sh"); then
        fail "LinearNexus needs Python 3.11 or newer, but $problem: add PYTHON=$newer to your make command."
    fi
    fail "LinearNexus needs Python 3.11 or newer, but $problem: install one (https://www.python.org/downloads), then add PYTHON=/path/to/it to your make command."
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    fail "'$python' cannot make virtual environments (Debian and Ubuntu ship that part apart): run 'sudo apt install python$version-venv', then try again."
fi

echo "Making $folder with Python $version."
"$python" -m venv --clear "$folder" || { rm -rf "$folder"; exit 1; }

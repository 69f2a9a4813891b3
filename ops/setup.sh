#!/bin/sh
# Puts in place what a make target needs: ops/setup.sh [java] [postgresql]
#
# Always the virtual environment, with exactly the packages of requirements.lock; on request also Java with Maven, and
# PostgreSQL, from the distribution. What is in place is left alone, so a second run is over at once.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

python=${PYTHON:-python3}
java=${SPACEOS_KAFKA_JAVA_HOME:-${JAVA_HOME:-}}
java=${java:+$java/bin/}java

has_python() { "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
# Java 8 called itself 1.8.
has_java() { "$java" -version 2>&1 | grep -Eq 'version "(1[7-9]|[2-9][0-9])'; }
has_maven() { command -v mvn >/dev/null; }
has_postgresql() {
    for initdb in "${SPACEOS_POSTGRES_BIN:-}"/initdb /usr/lib/postgresql/*/bin/initdb; do
        if [ -x "$initdb" ]; then return; fi
    done
    command -v initdb >/dev/null
}

missing='' packages=''
lacks() { missing="$missing${missing:+, }$1" packages="$packages $2"; }

if [ ! -x .venv/bin/python ]; then
    if ! has_python; then
        lacks 'Python 3.11 or later' 'python3 python3-venv'
    elif ! has_venv; then
        lacks 'the venv module of Python' python3-venv
    fi
fi
for need in "$@"; do
    case $need in
    java)
        has_java || lacks 'Java 17 or later' default-jre-headless
        has_maven || lacks Maven maven
        ;;
    postgresql) has_postgresql || lacks PostgreSQL postgresql ;;
    *) say "ops/setup.sh: there is no '$need' to set up" && exit 2 ;;
    esac
done

install_packages() {
    say "Installing with apt-get:$packages"
    quiet=/etc/postgresql-common/createcluster.d/spaceos-setup.conf
    case $packages in
    *postgresql*)
        # Debian makes a server of its own at the first installation; we need only the programs.
        $root mkdir -p "${quiet%/*}"
        echo 'create_main_cluster = false' | $root tee "$quiet" >/dev/null
        ;;
    esac
    log=$(mktemp)
    # shellcheck disable=SC2086  # a list of words
    if ! { $root apt-get -q update && $root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $packages; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say 'apt-get failed; what it said last is above'
        failed=yes
    fi
    rm -f "$log"
    $root rm -f "$quiet"
    [ -z "${failed:-}" ]
}

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        say "Missing: $missing. Install them with this system's package manager, then run the same command again."
        exit 1
    elif [ "$(id -u)" = 0 ]; then
        root=''
        install_packages
    elif sudo -n true 2>/dev/null; then
        root='sudo -n'
        install_packages
    else
        say "Missing: $missing. Have root run this line once, then run the same command again:"
        say "    apt-get update && apt-get install -y --no-install-recommends$packages"
        exit 1
    fi
fi

if [ ! -x .venv/bin/python ] && ! has_python; then
    say "$python is too old: Python 3.11 or later is needed. Set PYTHON to one, then run the same command again."
    exit 1
fi

# A virtual environment knows its own path, so one that was moved or copied is of no use.
is_sound() { .venv/bin/python -m pip --version >/dev/null 2>&1 && grep -qF "$PWD/.venv" .venv/bin/activate; }
# What was done is stamped with what it was done for: is_done STAMP FILE.
is_done() { [ "$(cat ".venv/$1" 2>/dev/null)" = "$PWD $(sha256sum "$2")" ]; }
stamp() { echo "$PWD $(sha256sum "$2")" >".venv/$1"; }
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }

if ! is_done packages requirements.lock; then
    say 'Installing the Python packages of requirements.lock into .venv (a minute or two, once)'
    is_sound || "$python" -m venv --clear .venv
    install --require-hashes -r requirements.lock
    stamp packages requirements.lock
fi
if ! is_done project pyproject.toml; then
    install --no-build-isolation --no-deps --editable .
    stamp project pyproject.toml
fi

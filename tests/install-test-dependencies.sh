#!/bin/sh
# Installs what the tests need beside Python packages: the clients that they
# drive, the databases that keep jobs, and gearmand, against which all of it is
# proved.
#
#     tests/install-test-dependencies.sh
#
# Debian's packages are installed when this may be done without a question (as
# root, or with a sudo that needs no password); otherwise one line says what is
# missing.  Where all is there, nothing is done.

set -eu

cd "$(dirname "$0")"

have() {
    command -v "$1" >/dev/null 2>&1
}

missing=""
have gearmand || missing="$missing gearman-job-server"
{ have gearman && have gearadmin; } || missing="$missing gearman-tools"
have php || missing="$missing php-cli"
{ have php && php -r 'exit(extension_loaded("gearman") ? 0 : 1);'; } || missing="$missing php-gearman"
perl -MGearman::Client -MGearman::Worker -e 1 2>/dev/null || missing="$missing libgearman-client-perl"
have node || missing="$missing nodejs"
have npm || missing="$missing npm"
have sqlite3 || missing="$missing sqlite3"
{ have postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; } || missing="$missing postgresql"
have redis-server || missing="$missing redis-server"
have mariadbd || have mysqld || missing="$missing mariadb-server"
have memcached || missing="$missing memcached"
ldconfig -p | grep -q libtokyocabinet || missing="$missing libtokyocabinet9"
have mkfs.ext2 || missing="$missing e2fsprogs"
have systemd-analyze || missing="$missing systemd"
have curl || missing="$missing curl"
have nc || missing="$missing netcat-openbsd"
have jq || missing="$missing jq"
have zsh || missing="$missing zsh"
have fish || missing="$missing fish"
have wrk || missing="$missing wrk"
have promtool || missing="$missing prometheus"
have chromium || missing="$missing chromium"

if [ -n "$missing" ]; then
    if ! have apt-get; then
        echo "$0: the tests need these Debian packages, or what they hold:$missing" >&2
        exit 1
    elif [ "$(id -u)" -eq 0 ]; then
        as_root="env"
    elif have sudo && sudo -n true 2>/dev/null; then
        as_root="sudo -n env"
    else
        echo "$0: the tests need more packages; run: sudo apt-get install$missing" >&2
        exit 1
    fi
    $as_root apt-get update -q
    # shellcheck disable=SC2086
    $as_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
    # The packages have just started servers on their usual ports, which nobody asked for.
    for package in $missing; do
        case $package in
            gearman-job-server | postgresql | redis-server | mariadb-server | memcached | prometheus)
                $as_root service "${package%-server}" stop >/dev/null 2>&1 || $as_root service "$package" stop >/dev/null 2>&1 || true
                ;;
        esac
    done
fi

cd clients/node
if ! node -e 'process.exit(require("gearmanode/package.json").version === require("./package.json").dependencies.gearmanode ? 0 : 1)' 2>/dev/null; then
    npm ci --no-audit --no-fund --loglevel=error
fi

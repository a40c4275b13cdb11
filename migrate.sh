#!/usr/bin/env bash
# The database's tables: ./migrate.sh up | down [N] | status | new NAME | break-lock     (--help tells more)
#
# DATABASE_URL names the database; use a direct connection, not a pooler's. To choose the storage of
# the candles by hand: ./migrate.sh up --storage native, or PGOPTIONS='-c candles.storage=native'.
# As a Cloud Run job, next to a database that is not reachable from here: ./migrate.sh --job ACTION
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'TEXT'
usage: ./migrate.sh ACTION [OPTIONS]

  up            apply every migration the database lacks
  down [N]      take back the newest (default: 1), data included
  status        schema version, storage, and what is missing
  new NAME      start a migration and its rollback in sql/
  break-lock    end whoever holds the migration lock

DATABASE_URL names the database. `./migrate.sh ACTION --help` tells an action's options; that needs the
packages of Spot (make setup).

In the cloud, as a Cloud Run job next to the database:

  ./migrate.sh --job ACTION        its options: ./migrate.sh --job --help

exit codes: 0 done; for status: nothing is missing
            1 failed, refused or not confirmed; for status: something is missing
            2 asked for wrongly: arguments, settings, or --yes missing where nobody can be asked
TEXT
}

# Before anything is looked for: a fresh clone has no packages yet.
if [[ ${1:-} == -h || ${1:-} == --help ]]; then usage && exit 0; fi

if [[ ${1:-} == --job ]]; then
    PROGRAM=migrate.sh
    # shellcheck source=cloud/common.sh
    source "$here/cloud/common.sh"
    # shellcheck source=cloud/job.sh
    source "$here/cloud/job.sh"
    shift
    run_as_job "$@"
    exit
fi

# Containers run as ids without a name; the migration tool wants to know one.
export USER="${USER:-spot}"
export LOGNAME="${LOGNAME:-$USER}"

python="$here/.venv/bin/python"
if [[ ! -x $python ]]; then
    python=$(command -v python3 || command -v python) || {
        echo "migrate.sh: no Python found: run make setup" >&2
        exit 2
    }
fi
if ! PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" "$python" -c 'import psycopg, yoyo' 2>/dev/null; then
    echo "migrate.sh: the packages of Spot are not installed for $python: run make setup" >&2
    exit 2
fi
PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m spot.cli migrate "$@"

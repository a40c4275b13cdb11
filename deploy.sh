#!/usr/bin/env bash
# Spot on Google Cloud: ./deploy.sh setup | deploy | status | rollback | destroy     (--help tells more)
set -Eeuo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PROGRAM=deploy.sh
# shellcheck source=cloud/common.sh
source "$ROOT/cloud/common.sh"
# shellcheck source=cloud/setup.sh
source "$ROOT/cloud/setup.sh"
# shellcheck source=cloud/release.sh
source "$ROOT/cloud/release.sh"
# shellcheck source=cloud/page.sh
source "$ROOT/cloud/page.sh"
# shellcheck source=cloud/lifecycle.sh
source "$ROOT/cloud/lifecycle.sh"

usage() {
    cat <<'TEXT'
usage: ./deploy.sh COMMAND [OPTIONS]

  setup      once: APIs, image repository, Cloud SQL, roles, secrets, service accounts
  deploy     test, build and push in Cloud Build, back up, migrate, roll shards and gateway, wait for health
  status     what runs, and whether it is healthy (else it ends with 1)
  rollback   shards and gateway back to the former image, or to --tag TAG (the database stays as it is)
  destroy    delete the programs; with --with-data the database, secrets, images, sources and accounts too
  release    STEP: backup, migrate, shards, gateway or all, with an image that exists (the build calls it)

  --project P            Google Cloud project (default: $PROJECT, else gcloud's configured one)
  --region R             (default: $REGION, else us-central1)
  --prefix NAME          of all names in the cloud (default: spot)
  --shards N             processes that share the products, one worker pool each (default: as many as run now, else 4)
  --tag TAG              of the image (default: the commit's short hash, and -dirty-TIME where files differ from it)
  --instance I           the Cloud SQL instance (default: PREFIX-db)
  --tier T               of the Cloud SQL instance (default: db-custom-2-8192)
  --storage-gb N         of the Cloud SQL instance, grows by itself (default: 50)
  --availability A       zonal or regional (default: zonal)
  --postgres V           major version on Cloud SQL (default: 17)
  --min-gateways N, --max-gateways N    instances of the gateway (default: 1, 4)
  --set NAME=VALUE       a setting of compose/env.example for shards and gateway; repeatable
  --secret NAME=SECRET:VERSION          the same out of Secret Manager; repeatable; at setup too, which
                         lets shards and gateway read it
  --network N, --subnet S    a VPC whose private addresses the programs reach
  --external-database    a PostgreSQL or TimescaleDB of your own that this network reaches
  --private              nobody but your own accounts may read
  --no-tests, --no-backup    leave that step out
  --with-data            destroy only: the data as well
  --yes                  do not ask, as machines need
  --dry-run              print every command and run none

Options are not remembered: give the same ones to every command. Everything may be repeated: what exists is kept. It stops at the first failure and says what to do next.
exit codes: 0 done, 1 failed or not confirmed, 2 asked for wrongly
TEXT
}

read_options() {
    SHARDS="" TAG='' TAG_GIVEN='' TIER=db-custom-2-8192 STORAGE_GB=50 AVAILABILITY=zonal POSTGRES=17
    MIN_GATEWAYS=1 MAX_GATEWAYS=4 SETTINGS=() SECRETS=() EXTERNAL_DATABASE=false NETWORK='' SUBNET=''
    PRIVATE=false TESTS=true BACKUP=true WITH_DATA=false RELEASE_STEP='' PASSED_ON=()
    while (($#)); do
        case $1 in
            --dry-run) DRY_RUN=true ;;
            --yes) AGREED=true ;;
            --private) PRIVATE=true ;;
            --no-tests) TESTS=false ;;
            --with-data) WITH_DATA=true ;;
            --no-backup) BACKUP=false PASSED_ON+=("$1") ;;
            --external-database) EXTERNAL_DATABASE=true PASSED_ON+=("$1") ;;
            --passed-on) read_passed_on "${2-}" && shift ;;
            -*) read_value "$@" && shift ;;
            *)
                [[ $COMMAND == release && -z $RELEASE_STEP ]] || die "unknown here: $1" "see --help" 2
                RELEASE_STEP=$1
                ;;
        esac
        shift
    done
}

read_value() {
    case $1 in
        --set | --secret)
            [[ ${2-} =~ ^[A-Z_][A-Z0-9_]*=[^\|\;$'\n']*$ ]] ||
                die "wanted $1 NAME=VALUE without |, ; and new lines, found '${2-}'" "" 2
            [[ $1 == --set || ${2#*=} =~ ^[A-Za-z0-9_-]+:([0-9]+|latest)$ ]] ||
                die "wanted --secret NAME=SECRET:VERSION, found '$2'" "" 2
            check_name "$1" "${2%%=*}"
            if [[ $1 == --set ]]; then SETTINGS+=("$2"); else SECRETS+=("$2"); fi
            PASSED_ON+=("$1" "$2")
            ;;
        --min-gateways | --max-gateways | --network | --subnet | --instance) set_value "$1" "${2-}" && PASSED_ON+=("$1" "$2") ;;
        --tag) set_value "$1" "${2-}" && TAG_GIVEN=true ;;
        --project | --region | --prefix | --shards | --tier | --storage-gb | --availability | --postgres)
            set_value "$1" "${2-}"
            ;;
        *) die "unknown option $1" "see --help" 2 ;;
    esac
}

# check_name OPTION NAME: a setting that a deployment may choose. A misspelt one would do nothing, and
# one that is set here as well would count or not by the order of the two.
check_name() {
    local known
    known=$(sed -nE '/^# -- Compose/,/^# -- Database/d; s/^#?([A-Z_]+)=.*/\1/p' "$ROOT/compose/env.example")
    [[ $'\n'$known$'\n' == *$'\n'$2$'\n'* ]] || die "$1: there is no setting $2" "see compose/env.example" 2
    case $2 in
        DATABASE_URL | SPOT_WORKER_DATABASE_URL | SPOT_GATEWAY_DATABASE_URL | PORT | SHARD_INDEX | \
            SHARD_COUNT | SPOT_TRUSTED_PROXIES)
            die "$1: $2 is set by this script" "see --help: --shards, --external-database" 2
            ;;
    esac
}

set_value() {
    local name=${1#--}
    [[ -n $2 && $2 != -* ]] || die "$1 needs a value" "" 2
    [[ $2 != *[$'|;\n']* ]] || die "wanted $1 without |, ; and new lines, found '$2'" "" 2
    name=${name^^}
    printf -v "${name//-/_}" %s "$2"
}

# The build gets the options it needs as one value, because a build has only named values.
read_passed_on() {
    local words=() kept=("${PASSED_ON[@]}")
    [[ -n $1 ]] || return 0
    [[ $1 != *$'\n'* ]] || die "wanted --passed-on without new lines" "" 2
    IFS='|' read -r -a words <<<"$1"
    while ((${#words[@]})); do
        case ${words[0]} in
            --no-backup) BACKUP=false ;;
            --external-database) EXTERNAL_DATABASE=true ;;
            *) read_value "${words[0]}" "${words[1]-}" && words=("${words[@]:1}") ;;
        esac
        words=("${words[@]:1}")
    done
    PASSED_ON=("${kept[@]}")
}

check_options() {
    local name option
    for name in MIN_GATEWAYS MAX_GATEWAYS STORAGE_GB POSTGRES; do
        option=--${name,,}
        option=${option//_/-}
        [[ ${!name} =~ ^[0-9]{1,4}$ ]] ||
            die "wanted $option as a whole number of up to four digits, found '${!name}'" "see --help" 2
        # Bash and gcloud would take 08 as octal.
        printf -v "$name" %s "$((10#${!name}))"
    done
    [[ -z $SHARDS || $SHARDS =~ ^([1-9][0-9]{0,2}|1000)$ ]] || die "wanted --shards from 1 to 1000, found '$SHARDS'" "" 2
    ((MIN_GATEWAYS <= MAX_GATEWAYS && MAX_GATEWAYS >= 1)) ||
        die "wanted --min-gateways up to --max-gateways, and that at least 1, found $MIN_GATEWAYS and $MAX_GATEWAYS" "" 2
    [[ $AVAILABILITY == zonal || $AVAILABILITY == regional ]] ||
        die "wanted --availability zonal or regional, found '$AVAILABILITY'" "" 2
    [[ -n $TAG ]] || name_tag
}

name_tag() {
    local now
    TAG=$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null) || TAG=latest
    # What is built is this folder and not the commit: two trees must not become one name.
    if [[ $COMMAND == deploy && -n $(git -C "$ROOT" status --porcelain 2>/dev/null) ]]; then
        TZ=UTC0 printf -v now '%(%Y%m%dT%H%M%SZ)T' -1
        TAG+=-dirty-$now
    fi
}

main() {
    COMMAND=${1:-}
    case $COMMAND in
        '') usage >&2 && exit 2 ;;
        -h | --help | help) usage && exit 0 ;;
        setup | deploy | status | rollback | destroy | release) shift ;;
        *) die "no command '$COMMAND'" "./deploy.sh --help" 2 ;;
    esac
    if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then usage && exit 0; fi
    read_options "$@"
    check_options
    need gcloud "install the Google Cloud SDK, then: gcloud auth login"
    set_names
    set_connection
    trap tell_failure ERR
    case $COMMAND in
        release) release "$RELEASE_STEP" ;;
        *) "$COMMAND" ;;
    esac
}

main "$@"

# shellcheck shell=bash disable=SC2034
# Shared by deploy.sh and migrate.sh --job: options, names, and the few ways a command is run.
#
# Every command goes through `run` (changes something), `ask` (captures an answer) or `exists`
# (captures yes or no, or dies), so that --dry-run can print all of them and run none. Secrets travel on
# standard input or in a file of this user alone, never in an argument.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    echo "$PROGRAM: wanted bash 4.4 or newer, found $BASH_VERSION (macOS: brew install bash)" >&2
    exit 2
fi

PROJECT=${PROJECT:-}
REGION=${REGION:-us-central1}
PREFIX=spot
INSTANCE=
IMAGE=
DRY_RUN=false
AGREED=false
STEP=starting
HINT="see --help"
# Questions are captured, so what they show in a dry run goes past the capture.
exec 3>&1

say() { printf '%s\n' "$*" >&2; }

# die TEXT [WHAT TO DO]: for what is noticed before anything is run.
die() {
    say "$PROGRAM: $1"
    [[ -z ${2:-} ]] || say "$PROGRAM: what to do: $2"
    exit "${3:-1}"
}

# step TEXT WHAT-TO-DO-IF-IT-FAILS: the trap below tells both.
step() {
    STEP=$1 HINT=$2
    printf '\n# %s\n' "$STEP"
}

tell_failure() {
    local status=$?
    # A part that runs beside us, or inside a capture, leaves the telling to the whole.
    ((BASH_SUBSHELL == 0)) || exit "$status"
    say ""
    say "$PROGRAM: failed while $STEP; nothing after it was done"
    say "$PROGRAM: what to do: $HINT"
    exit "$status"
}

show() {
    local word line='+'
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=,@%+^-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
    done
    printf '%s\n' "$line"
}

run() {
    show "$@"
    $DRY_RUN || "$@"
}

# run_with_input TEXT COMMAND...: the text is a secret, or too long for an argument.
run_with_input() {
    show "${@:2}"
    $DRY_RUN || printf %s "$1" | "${@:2}"
}

# ask PLACEHOLDER COMMAND...: prints the answer; in a dry run the placeholder.
ask() {
    if $DRY_RUN; then
        show "${@:2}" >&3
        printf '%s\n' "$1"
    else
        "${@:2}"
    fi
}

# What gcloud says of a thing that is not there, each service in words of its own. Any other error, a
# refusal above all, says nothing about the thing.
ABSENT='ERROR: \(gcloud\..*(NOT_FOUND|(Not|not) found|HTTPError 404|does not exist|Cannot find )'
REFUSED='PERMISSION_DENIED|HTTPError 40[13]|[Pp]ermission'

# exists COMMAND...: whether a `describe` finds something; in a dry run nothing exists.
exists() {
    local errors
    if $DRY_RUN; then
        show "$@"
        return 1
    fi
    if errors=$("$@" 2>&1 >/dev/null); then return 0; fi
    if [[ $errors =~ $ABSENT && ! $errors =~ $REFUSED ]]; then return 1; fi
    die "failed while $STEP: ${*:1:5} told neither yes nor no: $errors" "$HINT"
}

need() {
    $DRY_RUN || command -v "$1" >/dev/null || die "$1 is not installed" "$2"
}

# confirm QUESTION WORD: a person types the word; a machine needs --yes.
confirm() {
    local answer
    if $AGREED || $DRY_RUN; then return; fi
    [[ -t 0 && -t 2 ]] || die "${1%.}: nobody can be asked here" "add --yes" 2
    printf '%s Type %s: ' "$1" "$2" >&2
    read -r answer
    [[ $answer == "$2" ]] || die "nothing was done"
}

# Names of everything in the cloud, out of PROJECT, REGION and PREFIX.
set_names() {
    [[ $PREFIX =~ ^[a-z][a-z0-9-]{0,17}[a-z0-9]$ ]] ||
        die "wanted a --prefix of 2 to 19 small letters, digits and dashes, found '$PREFIX'" "" 2
    if [[ -z $PROJECT ]]; then
        if ! $DRY_RUN; then PROJECT=$(gcloud config get-value project 2>/dev/null) || true; fi
        if [[ -z $PROJECT ]] && $DRY_RUN; then PROJECT=your-project; fi
        [[ -n $PROJECT ]] || die "no project" "add --project P, or gcloud config set project P" 2
    fi
    [[ $PROJECT =~ ^[a-z0-9.:-]+$ && $REGION =~ ^[a-z]+-[a-z]+[0-9]+$ ]] ||
        die "wanted a project id and a region like us-central1, found '$PROJECT', '$REGION'" "" 2
    HERE=(--project="$PROJECT" --region="$REGION")
    INSTANCE=${INSTANCE:-$PREFIX-db}
    CONNECTION=$PROJECT:$REGION:$INSTANCE
    REPOSITORY=$REGION-docker.pkg.dev/$PROJECT/$PREFIX
    URL_MIGRATE=$PREFIX-url-migrate URL_WORKER=$PREFIX-url-worker URL_GATEWAY=$PREFIX-url-gateway
}

account() { printf '%s@%s.iam.gserviceaccount.com\n' "$PREFIX-$1" "$PROJECT"; }

# The newest enabled version: a pinned one, so that a new secret takes effect by a deploy alone.
secret_version() {
    local version
    version=$(ask 1 gcloud secrets versions list "$1" --project="$PROJECT" --filter=state=ENABLED \
        --sort-by=~createTime --limit=1 --format='value(name.basename())')
    [[ $version =~ ^[0-9]+$ ]] ||
        die "secret $1 has no enabled version" "run ./deploy.sh setup, or gcloud secrets versions add $1 --data-file=-"
    printf '%s:%s\n' "$1" "$version"
}

# How a container reaches the database: Cloud SQL's own socket, or a private network. A network is
# joined whenever one is named.
set_connection() {
    if [[ $EXTERNAL_DATABASE == true ]]; then
        [[ -n $NETWORK && -n $SUBNET ]] ||
            die "--external-database needs --network and --subnet" "name the VPC that reaches it" 2
        DATABASE_FLAGS=()
    else
        DATABASE_FLAGS=(--set-cloudsql-instances="$CONNECTION")
    fi
    [[ -z $NETWORK ]] || DATABASE_FLAGS+=(--network="$NETWORK")
    [[ -z $SUBNET ]] || DATABASE_FLAGS+=(--subnet="$SUBNET")
    [[ -z $NETWORK$SUBNET ]] || DATABASE_FLAGS+=(--vpc-egress=private-ranges-only)
}

# deploy_job NAME ACCOUNT SECRETS ARGUMENTS [FLAGS...]: a Cloud Run job with Spot's image.
deploy_job() {
    run gcloud run jobs deploy "$1" --image="$IMAGE" "${HERE[@]}" --service-account="$2" \
        --set-secrets="$3" --args="$4" "${DATABASE_FLAGS[@]}" --tasks=1 --parallelism=1 \
        --max-retries=0 --cpu=1 --memory=512Mi --quiet "${@:5}"
}

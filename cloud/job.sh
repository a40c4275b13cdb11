# shellcheck shell=bash
# migrate.sh --job: the same migrations, run by Cloud Run next to the database.

LOG_PAUSE_SECONDS=${LOG_PAUSE_SECONDS:-5}

job_usage() {
    cat <<'TEXT'
usage: ./migrate.sh --job [OPTIONS] up | down [N] | status | break-lock [--yes] [--force]

Runs the action as the Cloud Run job PREFIX-migrate and waits for its end. The job itself stays set to
`status`: whoever starts it by hand changes nothing.

  --project P    (default: $PROJECT, else gcloud's configured project)
  --region R     (default: $REGION, else us-central1)
  --prefix NAME  of all names in the cloud (default: spot)
  --instance I   the Cloud SQL instance (default: PREFIX-db)
  --image I      the image to run (default: the one the gateway runs now)
  --network N, --subnet S    a VPC that the job reaches too
  --external-database        the database is not Cloud SQL; the network reaches it
  --no-log       do not fetch what the job wrote
  --dry-run      print every command and run none

exit codes: 0 done, 1 failed (the job's output says why), 2 asked for wrongly
TEXT
}

read_job_options() {
    SHOW_LOG=true EXTERNAL_DATABASE=false NETWORK='' SUBNET='' ACTION=()
    while (($#)); do
        case $1 in
            -h | --help) job_usage && exit 0 ;;
            --dry-run) DRY_RUN=true ;;
            --no-log) SHOW_LOG=false ;;
            --external-database) EXTERNAL_DATABASE=true ;;
            --yes) AGREED=true ACTION+=("$1") ;;
            --project | --region | --prefix | --image | --instance | --network | --subnet)
                (($# > 1)) || die "$1 needs a value" "" 2
                local name=${1#--}
                printf -v "${name^^}" %s "$2"
                shift
                ;;
            up | down | status | break-lock | --force | [0-9] | [0-9][0-9]) ACTION+=("$1") ;;
            *) die "unknown here: $1" "./migrate.sh --job --help" 2 ;;
        esac
        shift
    done
    ((${#ACTION[@]})) || die "no action" "./migrate.sh --job up" 2
}

run_as_job() {
    trap tell_failure ERR
    read_job_options "$@"
    need gcloud "install the Google Cloud SDK"
    set_names
    set_connection
    case " ${ACTION[*]} " in
        *" down "* | *" break-lock "*)
            confirm "Run '${ACTION[*]}' on the database of $PROJECT." yes
            $AGREED || ACTION+=(--yes)
            ;;
    esac
    step "finding the image and the secrets" "run ./deploy.sh setup and deploy first, or name --image"
    [[ -n $IMAGE ]] || IMAGE=$(ask "$REPOSITORY/spot:TAG" gcloud run services describe "$PREFIX-gateway" \
        "${HERE[@]}" --format='value(spec.template.spec.containers[0].image)')
    local migrate worker gateway arguments since status=0
    migrate=$(secret_version "$URL_MIGRATE")
    worker=$(secret_version "$URL_WORKER")
    gateway=$(secret_version "$URL_GATEWAY")
    arguments=$(IFS=, && printf 'migrate,%s' "${ACTION[*]}")
    step "running ${ACTION[*]} as the job $PREFIX-migrate" \
        "read what the job wrote (the link above, or Cloud Run > Jobs > $PREFIX-migrate > Logs)"
    deploy_job "$PREFIX-migrate" "$(account migrate)" \
        "DATABASE_URL=$migrate,SPOT_WORKER_DATABASE_URL=$worker,SPOT_GATEWAY_DATABASE_URL=$gateway" \
        migrate,status --task-timeout=15m
    TZ=UTC0 printf -v since '%(%FT%TZ)T' -1
    run gcloud run jobs execute "$PREFIX-migrate" "${HERE[@]}" --args="$arguments" --wait --quiet || status=$?
    if $SHOW_LOG; then show_job_log "$since"; fi
    ((status == 0)) || tell_failure
}

# show_job_log SINCE: logs arrive with some seconds' delay; without them the exit status still tells.
show_job_log() {
    local lines='' try
    for ((try = 0; try < 6; try++)); do
        ((try == 0)) || sleep "$LOG_PAUSE_SECONDS"
        lines=$(ask '' gcloud logging read \
            "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"$PREFIX-migrate\" AND timestamp>=\"$1\"" \
            --project="$PROJECT" --limit=200 --order=asc --format='value(textPayload)') || true
        if $DRY_RUN || [[ -n $lines ]]; then break; fi
    done
    $DRY_RUN || printf '%s\n' "${lines:-# no line of it has arrived yet: see the link above}"
}

# shellcheck shell=bash
# deploy.sh release: an image that exists becomes what runs. Cloud Build calls it step by step, and a
# person may call any step again, so that a laptop and a build run the same lines.

release() {
    case $1 in
        backup) backup ;;
        migrate) migrate ;;
        shards) release_shards ;;
        gateway) release_gateway ;;
        all)
            # Not joined by &&: inside such a list a failing command would not stop anything.
            backup
            migrate
            release_shards
            release_gateway
            ;;
        *) die "wanted backup, migrate, shards, gateway or all, found '$1'" "" 2 ;;
    esac
}

# By digest: a tag can be moved between two steps, and an instance that starts later must be equal.
find_image() {
    local digest
    [[ -z $IMAGE ]] || return 0
    digest=$(ask sha256:DIGEST gcloud artifacts docker images describe "$REPOSITORY/spot:$TAG" \
        --project="$PROJECT" --format='value(image_summary.digest)')
    [[ $digest == sha256:* ]] || die "there is no image $REPOSITORY/spot:$TAG" "./deploy.sh deploy builds it"
    IMAGE=$REPOSITORY/spot@$digest
}

backup() {
    if [[ $BACKUP != true || $EXTERNAL_DATABASE == true ]]; then
        printf '# no backup by Cloud SQL: %s\n' "make your own before you migrate"
        return
    fi
    step "backing up the database" "look at gcloud sql operations list --instance=$INSTANCE; --no-backup skips it"
    run gcloud sql backups create --instance="$INSTANCE" --project="$PROJECT" \
        --description="before $TAG" --quiet
}

migrate() {
    local options=(--project "$PROJECT" --region "$REGION" --prefix "$PREFIX" --instance "$INSTANCE" --no-log)
    local secret flags=(--task-timeout=60m)
    find_image
    if $DRY_RUN; then options+=(--dry-run); fi
    if [[ $EXTERNAL_DATABASE == true ]]; then options+=(--external-database); fi
    if [[ -n $NETWORK ]]; then options+=(--network "$NETWORK"); fi
    if [[ -n $SUBNET ]]; then options+=(--subnet "$SUBNET"); fi
    step "migrating" "./migrate.sh --job status tells; the old programs go on with the old tables"
    "$ROOT/migrate.sh" --job "${options[@]}" --image "$IMAGE" up
    step "renewing the maintenance job" "run ./deploy.sh deploy again"
    secret=$(secret_version "$URL_MIGRATE")
    # A setting that is not named any more has to go: a forgotten SPOT_RETENTION would go on deleting.
    if ((${#SETTINGS[@]})); then flags+=(--set-env-vars="$(settings)"); else flags+=(--clear-env-vars); fi
    deploy_job "$PREFIX-maintain" "$(account migrate)" "DATABASE_URL=$secret" maintain "${flags[@]}"
}

# settings [NAME=VALUE...]: for --set-env-vars; values may hold commas, so another sign divides.
settings() {
    local IFS='|' all=("$@" "${SETTINGS[@]}")
    printf '^|^%s\n' "${all[*]}"
}

secrets_of() {
    local IFS=, all=("DATABASE_URL=$1" "${SECRETS[@]}")
    printf '%s\n' "${all[*]}"
}

# Worker pools where gcloud knows them, under whatever name it does; else services that never sleep
# (Cloud Run gives these a PORT, and the fleet answers there).
choose_pools() {
    ALWAYS_ON=()
    if $DRY_RUN || gcloud run worker-pools deploy --help >/dev/null 2>&1; then
        POOLS=(gcloud run worker-pools) DEPLOY=deploy COUNT=(--instances=1)
    elif gcloud beta run worker-pools deploy --help >/dev/null 2>&1; then
        # The flag's first name: hidden later, but the one every version takes.
        POOLS=(gcloud beta run worker-pools) DEPLOY=deploy COUNT=(--scaling=1)
    else
        say "$PROGRAM: this gcloud has no worker pools: shards become services that never sleep (dearer)"
        POOLS=(gcloud run services) DEPLOY='' COUNT=(--min-instances=1 --max-instances=1)
        ALWAYS_ON=(--no-cpu-throttling --no-allow-unauthenticated --ingress=internal --port=8080)
    fi
}

deploy_shard() {
    local command=("${POOLS[@]}" deploy) variables
    [[ -n $DEPLOY ]] || command=(gcloud run deploy)
    variables=$(settings "SHARD_INDEX=$1" "SHARD_COUNT=$SHARDS")
    run "${command[@]}" "$PREFIX-shard-$1" --image="$IMAGE" "${HERE[@]}" \
        --service-account="$(account worker)" --args=fleet --set-env-vars="$variables" \
        --set-secrets="$(secrets_of "$WORKER_SECRET")" "${DATABASE_FLAGS[@]}" \
        --cpu=1 --memory=512Mi "${COUNT[@]}" "${ALWAYS_ON[@]}" --quiet
}

# Each gcloud that waits for its shard takes about 100 MB of this machine.
AT_ONCE=16

release_shards() {
    local index former pids=() failed=()
    find_image
    choose_pools
    find_shards
    WORKER_SECRET=$(secret_version "$URL_WORKER")
    step "deploying $SHARDS shards" "the others go on; fix what is said above and run it again"
    for ((index = 0; index < SHARDS + AT_ONCE; index++)); do
        former=$((index - AT_ONCE))
        if ((former >= 0 && former < SHARDS)); then wait "${pids[former]}" || failed+=("$former"); fi
        ((index < SHARDS)) || continue
        deploy_shard "$index" &
        pids+=($!)
        # One after the other where they are only shown.
        if $DRY_RUN; then wait $!; fi
    done
    ((${#failed[@]} == 0)) || die "shards ${failed[*]} were not deployed" "$HINT"
    remove_leftovers
}

# What could not be listed is not empty: it would shrink the fleet.
list_shards() {
    SHARD_NAMES=$(ask '' "${POOLS[@]}" list "${HERE[@]}" --format='value(metadata.name)') ||
        die "the shards that run cannot be listed" "run it again"
}

# As many as there are, unless the command line says how many: a forgotten option removes none.
find_shards() {
    local name highest=-1
    [[ -z $SHARDS ]] || return 0
    list_shards
    while read -r name; do
        [[ $name =~ ^$PREFIX-shard-([0-9]+)$ ]] || continue
        if ((10#${BASH_REMATCH[1]} > highest)); then highest=$((10#${BASH_REMATCH[1]})); fi
    done <<<"$SHARD_NAMES"
    SHARDS=$((highest < 0 ? 4 : highest + 1))
}

# Fewer shards than before: the ones beyond would go on with an old count.
remove_leftovers() {
    local name
    step "removing shards beyond $SHARDS" "run it again"
    list_shards
    while read -r name; do
        [[ $name =~ ^$PREFIX-shard-([0-9]+)$ ]] || continue
        ((10#${BASH_REMATCH[1]} < SHARDS)) || run "${POOLS[@]}" delete "$name" "${HERE[@]}" --quiet
    done <<<"$SHARD_NAMES"
}

release_gateway() {
    local secret
    find_image
    secret=$(secret_version "$URL_GATEWAY")
    # Cloud Run's own front end hands requests on from a link-local address.
    step "deploying the gateway" "the former revision goes on serving; run it again"
    run gcloud run deploy "$PREFIX-gateway" --image="$IMAGE" "${HERE[@]}" \
        --service-account="$(account gateway)" --args=gateway \
        --set-env-vars="$(settings SPOT_TRUSTED_PROXIES=169.254.0.0/16)" \
        --set-secrets="$(secrets_of "$secret")" "${DATABASE_FLAGS[@]}" \
        --port=8080 --timeout=3600 --concurrency=1000 --session-affinity --ingress=all \
        --no-use-http2 --no-cpu-throttling --execution-environment=gen2 --cpu=1 --memory=1Gi \
        --min-instances="$MIN_GATEWAYS" --max-instances="$MAX_GATEWAYS" \
        --startup-probe=httpGet.path=/livez,httpGet.port=8080,periodSeconds=5,failureThreshold=12,timeoutSeconds=3 \
        --liveness-probe=httpGet.path=/livez,httpGet.port=8080,periodSeconds=30,timeoutSeconds=5 \
        --quiet
}

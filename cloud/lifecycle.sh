# shellcheck shell=bash
# deploy.sh deploy, status, rollback, destroy: from the operator's machine.

HEALTH_SECONDS=${HEALTH_SECONDS:-180}

deploy() {
    local substitutions
    [[ ! $TAG =~ [^A-Za-z0-9_.-] && -n $TAG ]] || die "wanted an image tag, found '$TAG'" "" 2
    choose_pools
    find_shards
    step "building and releasing $TAG in Cloud Build" \
        "the log above says which step failed; what was released before it stays, and deploy may be repeated"
    substitutions="_TAG=$TAG;_PREFIX=$PREFIX;_REGION=$REGION;_SHARD_COUNT=$SHARDS;_TESTS=$TESTS"
    substitutions+=";_OPTIONS=$(release_options)"
    run gcloud builds submit "$ROOT" --config="$ROOT/cloudbuild.yaml" --project="$PROJECT" \
        --gcs-source-staging-dir="gs://$PROJECT-$PREFIX-source/source" \
        --substitutions="^;^$substitutions"
    if $DRY_RUN; then
        printf '\n# what the build runs after test, build and push:\n'
        release all
    fi
    finish
}

# The options of this command line that the build's own ./deploy.sh needs, none holds the sign between.
release_options() {
    local IFS='|'
    printf '%s' "${PASSED_ON[*]}"
}

# What a build's account may not do: let the public in, and let the scheduler start a job.
finish() {
    local uri="https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$PREFIX-maintain:run"
    if [[ $PRIVATE == false ]]; then
        step "letting everybody read" "you need roles/run.admin; --private leaves it closed"
        run gcloud run services add-iam-policy-binding "$PREFIX-gateway" "${HERE[@]}" \
            --member=allUsers --role=roles/run.invoker --quiet
    fi
    step "scheduling the daily maintenance" "you need roles/cloudscheduler.admin and roles/run.admin"
    run gcloud run jobs add-iam-policy-binding "$PREFIX-maintain" "${HERE[@]}" \
        --member="serviceAccount:$(account scheduler)" --role=roles/run.invoker --quiet
    exists gcloud scheduler jobs describe "$PREFIX-maintain" --location="$REGION" --project="$PROJECT" ||
        run gcloud scheduler jobs create http "$PREFIX-maintain" --location="$REGION" \
            --project="$PROJECT" --schedule="17 3 * * *" --uri="$uri" --http-method=POST \
            --oauth-service-account-email="$(account scheduler)"
    wait_for_health
}

gateway_url() {
    ask "https://$PREFIX-gateway.example" gcloud run services describe "$PREFIX-gateway" \
        "${HERE[@]}" --format='value(status.url)'
}

wait_for_health() {
    local url until answer
    url=$(gateway_url)
    if $DRY_RUN || [[ $PRIVATE == true ]]; then
        printf '# then wait for %s/health to answer 200\n' "$url"
        return
    fi
    step "waiting for $url/health" "./deploy.sh status; gcloud run services logs read $PREFIX-gateway ${HERE[*]}; back with ./deploy.sh rollback"
    until=$((SECONDS + HEALTH_SECONDS))
    while ! answer=$(curl --silent --show-error --fail --max-time 5 "$url/health" 2>&1); do
        if ((SECONDS >= until)); then
            say "$answer"
            return 1
        fi
        sleep 2
    done
    printf '# healthy: %s\n' "$url"
}

status() {
    choose_pools
    step "looking at $PREFIX in $PROJECT, $REGION" "./deploy.sh setup and deploy make what is missing"
    run gcloud run services list "${HERE[@]}" --filter="metadata.name:$PREFIX-"
    run "${POOLS[@]}" list "${HERE[@]}" --filter="metadata.name:$PREFIX-shard-"
    run gcloud run jobs executions list "${HERE[@]}" --limit=5
    [[ $EXTERNAL_DATABASE == true ]] ||
        run gcloud sql instances describe "$INSTANCE" --project="$PROJECT" \
            --format='table(name,state,databaseVersion,settings.tier,ipAddresses[0].ipAddress)'
    local url
    url=$(gateway_url)
    if [[ $PRIVATE == false ]]; then run curl --silent --max-time 10 "$url/health"; fi
    printf '\n# %s\n' "$url"
}

# Programs only: expand-then-contract migrations let the former image run on the newer tables.
rollback() {
    local image former='' index
    if [[ -z $TAG_GIVEN ]]; then
        step "finding the former image" "name it: ./deploy.sh rollback --tag TAG"
        while read -r image; do
            if [[ -z $IMAGE ]]; then IMAGE=$image; elif [[ $image != "$IMAGE" ]]; then
                former=$image
                break
            fi
        done < <(ask "$REPOSITORY/spot@sha256:NOW"$'\n'"$REPOSITORY/spot@sha256:FORMER" \
            gcloud run revisions list --service="$PREFIX-gateway" "${HERE[@]}" --limit=50 \
            --sort-by=~metadata.creationTimestamp --format='value(spec.containers[0].image)')
        [[ -n $former ]] || die "there is no former image" "name one: ./deploy.sh rollback --tag TAG"
        IMAGE=$former
    fi
    find_image
    choose_pools
    find_shards
    confirm "Go back to $IMAGE in $SHARDS shards; settings and database stay as they are." yes
    step "going back to $IMAGE" "run it again; what was reached has gone back already"
    for ((index = 0; index < SHARDS; index++)); do
        run "${POOLS[@]}" update "$PREFIX-shard-$index" --image="$IMAGE" "${HERE[@]}" --quiet
    done
    run gcloud run services update "$PREFIX-gateway" --image="$IMAGE" "${HERE[@]}" --quiet
    wait_for_health
}

destroy() {
    local name what="the programs"
    choose_pools
    if $WITH_DATA; then what="the programs AND THE DATABASE"; fi
    confirm "Delete $what of $PREFIX in $PROJECT." "$PREFIX"
    step "deleting the programs" "run it again"
    SHARDS=0
    remove_leftovers
    if $DRY_RUN; then run "${POOLS[@]}" delete "$PREFIX-shard-0" "${HERE[@]}" --quiet; fi
    delete_if_there gcloud run services "$PREFIX-gateway" "${HERE[@]}"
    for name in migrate maintain; do delete_if_there gcloud run jobs "$PREFIX-$name" "${HERE[@]}"; done
    delete_if_there gcloud scheduler jobs "$PREFIX-maintain" --location="$REGION" --project="$PROJECT"
    if $WITH_DATA; then destroy_data; else
        printf '\n# kept: the database, its secrets, accounts and images; --with-data deletes them too\n'
    fi
}

destroy_data() {
    local name
    step "deleting database, secrets, images and accounts" "run it again"
    if [[ $EXTERNAL_DATABASE == false ]] && { $DRY_RUN ||
        exists gcloud sql instances describe "$INSTANCE" --project="$PROJECT"; }; then
        run gcloud sql instances patch "$INSTANCE" --project="$PROJECT" --no-deletion-protection --quiet
        # The last backup outlives the instance; its own ones do not.
        run gcloud sql instances delete "$INSTANCE" --project="$PROJECT" --enable-final-backup --quiet
    fi
    for name in "$URL_MIGRATE" "$URL_WORKER" "$URL_GATEWAY"; do
        delete_if_there gcloud secrets "$name" --project="$PROJECT"
    done
    delete_if_there gcloud artifacts repositories "$PREFIX" --location="$REGION" --project="$PROJECT"
    for name in worker gateway migrate deployer scheduler; do
        delete_if_there gcloud iam service-accounts "$(account $name)" --project="$PROJECT"
    done
}

# delete_if_there GROUP... NAME FLAGS...: the name is the first word after the group's own.
delete_if_there() {
    local words=()
    while [[ $1 =~ ^(gcloud|run|services|jobs|scheduler|secrets|artifacts|repositories|iam|service-accounts)$ ]]; do
        words+=("$1") && shift
    done
    if $DRY_RUN || exists "${words[@]}" describe "$@"; then
        run "${words[@]}" delete "$@" --quiet
    fi
}

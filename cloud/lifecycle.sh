# shellcheck shell=bash
# deploy.sh deploy, status, rollback, destroy: from the operator's machine.

deploy() {
    local substitutions
    [[ ! $TAG =~ [^A-Za-z0-9_.-] && -n $TAG ]] || die "wanted an image tag, found '$TAG'" "" 2
    # The build counts the shards that run by itself, unless this command line says how many.
    step "building and releasing $TAG in Cloud Build" \
        "open the log link above, it says which step failed; what was released before it stays, and deploy may be repeated"
    substitutions="_TAG=$TAG;_PREFIX=$PREFIX;_REGION=$REGION;_TESTS=$TESTS"
    [[ -z $SHARDS ]] || substitutions+=";_SHARD_COUNT=$SHARDS"
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

# What a build's account may not do: start a job by the clock, and let the public in. In this order,
# because an organisation may forbid the latter, and partitions are needed all the same.
finish() {
    schedule_maintenance
    if [[ $PRIVATE == true ]]; then close_page; else open_page; fi
    wait_for_health
}

schedule_maintenance() {
    local uri="https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$PREFIX-maintain:run"
    step "scheduling the daily maintenance" "you need roles/cloudscheduler.admin and roles/run.admin"
    run gcloud run jobs add-iam-policy-binding "$PREFIX-maintain" "${HERE[@]}" \
        --member="serviceAccount:$(account scheduler)" --role=roles/run.invoker --quiet
    exists gcloud scheduler jobs describe "$PREFIX-maintain" --location="$REGION" --project="$PROJECT" ||
        run gcloud scheduler jobs create http "$PREFIX-maintain" --location="$REGION" \
            --project="$PROJECT" --schedule="17 3 * * *" --uri="$uri" --http-method=POST \
            --oauth-service-account-email="$(account scheduler)"
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
    tell_health
}

# Programs only: expand-then-contract migrations let the former image run on the newer tables.
rollback() {
    local index tags
    choose_pools
    if [[ -z $TAG_GIVEN ]]; then find_former; fi
    find_image
    find_shards
    tags=$(tags_of "$IMAGE")
    confirm "Go back to $IMAGE ($tags) in $SHARDS shards; settings and database stay as they are." yes
    step "going back to $IMAGE ($tags)" "run it again with --tag, one of: $tags; what was reached has gone back already"
    for ((index = 0; index < SHARDS; index++)); do
        run "${POOLS[@]}" update "$PREFIX-shard-$index" --image="$IMAGE" "${HERE[@]}" --quiet
    done
    run gcloud run services update "$PREFIX-gateway" --image="$IMAGE" "${HERE[@]}" --quiet
    wait_for_health
}

# IMAGE becomes what ran before the newest deploy. One that ended before the gateway left shards with
# an image that no gateway ever had: then the gateway's newest is the former one, else the one before.
find_former() {
    local images image newest running
    step "finding the former image" "name it: ./deploy.sh rollback --tag TAG"
    images=$(ask "$REPOSITORY/spot@sha256:NOW"$'\n'"$REPOSITORY/spot@sha256:FORMER" \
        gcloud run revisions list --service="$PREFIX-gateway" "${HERE[@]}" --limit=50 \
        --sort-by=~metadata.creationTimestamp --format='value(spec.containers[0].image)')
    newest=${images%%$'\n'*}
    running=$(shard_images)
    while read -r image; do
        # No shard at all is one empty line.
        if [[ -n $image && $'\n'$images$'\n' != *$'\n'$image$'\n'* ]]; then IMAGE=$newest; fi
    done <<<"$running"
    while [[ -z $IMAGE ]] && read -r image; do
        if [[ $image != "$newest" ]]; then IMAGE=$image; fi
    done <<<"$images"
    [[ -n $IMAGE ]] || die "there is no former image" "name one: ./deploy.sh rollback --tag TAG"
}

shard_images() {
    local name image listed
    listed=$(ask "$PREFIX-shard-0 $REPOSITORY/spot@sha256:NOW" "${POOLS[@]}" list "${HERE[@]}" \
        --format='value(metadata.name,spec.template.spec.containers[0].image)')
    while read -r name image; do
        if [[ $name =~ ^$PREFIX-shard-[0-9]+$ && -n $image ]]; then printf '%s\n' "$image"; fi
    done <<<"$listed"
}

# A digest tells nobody anything; without its tags the way back is still right.
tags_of() {
    local tags
    tags=$(ask TAG gcloud artifacts docker images list "${1%@*}" --include-tags \
        --filter="version=\"${1##*@}\"" --format='value(tags)' 2>/dev/null) || tags=''
    printf '%s\n' "${tags:-no tag}"
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
        printf '\n# kept: the database, its secrets, accounts, images and sources; --with-data deletes them too\n'
    fi
}

destroy_data() {
    local name
    step "deleting database, secrets, images, sources and accounts" "run it again"
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
    if $DRY_RUN || exists gcloud storage buckets describe "gs://$PROJECT-$PREFIX-source"; then
        run gcloud storage rm --recursive "gs://$PROJECT-$PREFIX-source"
    fi
    for name in worker gateway migrate deployer scheduler; do
        delete_if_there gcloud iam service-accounts "$(account $name)" --project="$PROJECT"
    done
    printf '\n# kept: %s\n' "the database's final backup, the APIs, your own secrets, the project's bindings of the \
deleted accounts (they give nobody anything), and the role projects/$PROJECT/roles/${PREFIX//-/_}_backup (once \
deleted, its name could not be used again for weeks)"
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

# shellcheck shell=bash
# The gateway's page: who may open it, and whether it is healthy.

HEALTH_SECONDS=${HEALTH_SECONDS:-180}
# The first answer may still tell of the former shards: they end within 10 s, and a shard counts as
# lost when it was not seen for 15.
HEALTH_AGAIN_SECONDS=${HEALTH_AGAIN_SECONDS:-20}

open_page() {
    step "letting everybody read" "you need roles/run.admin; where the organisation forbids allUsers: \
gcloud run services update $PREFIX-gateway ${HERE[*]} --no-invoker-iam-check; --private leaves the page closed"
    if lets_all_in; then
        printf '# nothing to do: the service checks no invoker\n'
        return
    fi
    run gcloud run services add-iam-policy-binding "$PREFIX-gateway" "${HERE[@]}" \
        --member=allUsers --role=roles/run.invoker --quiet
}

# A page that an earlier deploy opened stays open until somebody closes it.
close_page() {
    local everybody
    step "closing the page to the public" "you need roles/run.admin; until then everybody may read"
    everybody=$(ask allUsers gcloud run services get-iam-policy "$PREFIX-gateway" "${HERE[@]}" \
        --flatten='bindings[].members' --format='value(bindings.members)' \
        --filter='bindings.role=roles/run.invoker AND bindings.members=allUsers')
    if [[ -n $everybody ]]; then
        run gcloud run services remove-iam-policy-binding "$PREFIX-gateway" "${HERE[@]}" \
            --member=allUsers --role=roles/run.invoker --quiet
    fi
    if lets_all_in; then
        run gcloud run services update "$PREFIX-gateway" "${HERE[@]}" --invoker-iam-check --quiet
    fi
}

# Whether the service was told to check no invoker, which needs no binding.
lets_all_in() {
    local disabled
    disabled=$(ask '' gcloud run services describe "$PREFIX-gateway" "${HERE[@]}" \
        --format='value(metadata.annotations["run.googleapis.com/invoker-iam-disabled"])')
    [[ ${disabled,,} == true ]]
}

gateway_url() {
    ask "https://$PREFIX-gateway.example" gcloud run services describe "$PREFIX-gateway" \
        "${HERE[@]}" --format='value(status.url)'
}

# read_health URL: prints what /health says and its status; fails unless that is 200.
read_health() {
    local answer
    # Who asks is said in a header that Cloud Run alone reads: a private page answers its owner, and
    # Spot's own tokens have the other one. On standard input, as arguments are no secret.
    answer=$({ [[ -z $TOKEN ]] || printf 'header = "X-Serverless-Authorization: Bearer %s"\n' "$TOKEN"; } |
        curl --config - --silent --show-error --max-time 10 --write-out '\nHTTP %{http_code}' "$1/health" 2>&1) || true
    printf '%s\n' "$answer"
    [[ $answer == *$'\n''HTTP 200' ]]
}

# Without a token a public page can still be asked.
find_token() { TOKEN=$(ask '' gcloud auth print-identity-token) || TOKEN=''; }

wait_for_health() {
    local url until answer times=0
    url=$(gateway_url)
    if $DRY_RUN; then
        printf '# then wait for %s/health to answer 200\n' "$url"
        return
    fi
    step "waiting for $url/health" "./deploy.sh status; gcloud run services logs read $PREFIX-gateway ${HERE[*]}; \
HTTP 403: you need roles/run.invoker; back with ./deploy.sh rollback"
    find_token
    until=$((SECONDS + HEALTH_SECONDS))
    while ((times < 2)); do
        if answer=$(read_health "$url"); then
            times=$((times + 1))
            ((times > 1)) || sleep "$HEALTH_AGAIN_SECONDS"
            continue
        fi
        if ((SECONDS >= until)); then
            say "$answer"
            return 1
        fi
        times=0
        sleep 2
    done
    printf '# healthy: %s\n' "$url"
}

tell_health() {
    local url
    url=$(gateway_url)
    step "asking $url/health" "the answer above says what is wrong; HTTP 403: you need roles/run.invoker"
    find_token
    $DRY_RUN || read_health "$url"
}

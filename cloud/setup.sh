# shellcheck shell=bash
# deploy.sh setup: what a project needs once. Each part is left alone where it exists already.

APIS=(run cloudbuild artifactregistry sqladmin secretmanager iam cloudscheduler)

setup() {
    enable_apis
    make_repository
    make_accounts
    if [[ $EXTERNAL_DATABASE == true ]]; then store_given_urls; else make_cloud_sql; fi
    grant_roles
    grant_given_secrets
    printf '\n# done: next is ./deploy.sh deploy\n'
}

enable_apis() {
    step "switching on the project's APIs" "you need roles/serviceusage.serviceUsageAdmin and billing"
    run gcloud services enable "${APIS[@]/%/.googleapis.com}" --project="$PROJECT"
}

make_repository() {
    step "making the image repository and the source bucket" "you need roles/artifactregistry.admin and roles/storage.admin"
    exists gcloud artifacts repositories describe "$PREFIX" --location="$REGION" --project="$PROJECT" ||
        run gcloud artifacts repositories create "$PREFIX" --location="$REGION" \
            --project="$PROJECT" --repository-format=docker --description="Images of Spot"
    exists gcloud storage buckets describe "gs://$PROJECT-$PREFIX-source" ||
        run gcloud storage buckets create "gs://$PROJECT-$PREFIX-source" --project="$PROJECT" \
            --location="$REGION" --uniform-bucket-level-access --public-access-prevention
}

make_accounts() {
    local name
    step "making the service accounts" "you need roles/iam.serviceAccountAdmin"
    for name in worker gateway migrate deployer scheduler; do
        exists gcloud iam service-accounts describe "$(account $name)" --project="$PROJECT" ||
            run gcloud iam service-accounts create "$PREFIX-$name" --project="$PROJECT" \
                --display-name="Spot $name"
    done
}

# The owner's role is made here; migrate.sh makes the two others, which own nothing.
make_cloud_sql() {
    step "making the Cloud SQL instance (10 minutes the first time)" "you need roles/cloudsql.admin; run setup again, it goes on where it stopped"
    exists gcloud sql instances describe "$INSTANCE" --project="$PROJECT" ||
        run gcloud sql instances create "$INSTANCE" --project="$PROJECT" --region="$REGION" \
            --database-version="POSTGRES_$POSTGRES" --edition=enterprise --tier="$TIER" \
            --storage-type=SSD --storage-size="$STORAGE_GB" --storage-auto-increase \
            --availability-type="$AVAILABILITY" --backup --enable-point-in-time-recovery \
            --deletion-protection --quiet
    exists gcloud sql databases describe spot --instance="$INSTANCE" --project="$PROJECT" ||
        run gcloud sql databases create spot --instance="$INSTANCE" --project="$PROJECT"
    step "making the database roles' URLs as secrets" "you need roles/secretmanager.admin; run setup again"
    make_url "$URL_MIGRATE" spot_migrate make_owner
    make_url "$URL_WORKER" spot_worker true
    make_url "$URL_GATEWAY" spot_gateway true
}

# make_url SECRET ROLE MAKER: a new password, the role with it, and the secret that holds both. The
# secret comes first: where it cannot be made, no password may be changed that nobody would know then.
make_url() {
    local password
    make_secret "$1"
    if has_version "$1"; then return; fi
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    "$3" "$2" "$password"
    add_version "$1" "postgresql://$2:$password@/spot?host=/cloudsql/$CONNECTION"
}

make_secret() {
    exists gcloud secrets describe "$1" --project="$PROJECT" ||
        run gcloud secrets create "$1" --project="$PROJECT" --replication-policy=automatic
}

# A setup that ended between the secret and its first version goes on here.
has_version() {
    local versions
    versions=$(ask '' gcloud secrets versions list "$1" --project="$PROJECT" --filter=state=ENABLED \
        --limit=1 --format='value(name)') ||
        die "the versions of the secret $1 cannot be listed" "$HINT"
    [[ -n $versions ]]
}

add_version() {
    run_with_input "$2" gcloud secrets versions add "$1" --project="$PROJECT" --data-file=-
}

# A password in an argument could be read by everybody on this machine: it goes by a file.
make_owner() {
    local verb=create file there
    there=$(ask '' gcloud sql users list --instance="$INSTANCE" --project="$PROJECT" \
        --filter="name=$1" --format='value(name)')
    [[ -z $there ]] || verb=set-password
    file=$(mktemp)
    # shellcheck disable=SC2064  # the name as it is now
    trap "rm -f '$file'" EXIT
    $DRY_RUN || printf -- '--password: "%s"\n' "$2" >"$file"
    run gcloud sql users "$verb" "$1" --instance="$INSTANCE" --project="$PROJECT" \
        --flags-file="$file" --quiet
    rm -f "$file"
}

# A database of your own: its three URLs come from the environment of this command.
store_given_urls() {
    local secret variable
    step "storing the URLs of your database as secrets" "you need roles/secretmanager.admin; export the three URLs"
    for secret in "$URL_MIGRATE:DATABASE_URL" "$URL_WORKER:SPOT_WORKER_DATABASE_URL" \
        "$URL_GATEWAY:SPOT_GATEWAY_DATABASE_URL"; do
        variable=${secret##*:} secret=${secret%:*}
        make_secret "$secret"
        if has_version "$secret"; then continue; fi
        [[ -n ${!variable:-} ]] || $DRY_RUN ||
            die "$variable is not set" "export the URL of the role that $secret is for" 2
        add_version "$secret" "${!variable:-}"
    done
}

grant_roles() {
    local name secret
    step "granting each account the least it needs" "you need roles/resourcemanager.projectIamAdmin and roles/iam.roleAdmin"
    if [[ $EXTERNAL_DATABASE == false ]]; then
        for name in worker gateway migrate; do grant_project "$name" roles/cloudsql.client; done
        exists gcloud iam roles describe "${PREFIX//-/_}_backup" --project="$PROJECT" ||
            run gcloud iam roles create "${PREFIX//-/_}_backup" --project="$PROJECT" \
                --title="Spot backup" --permissions=cloudsql.backupRuns.create,cloudsql.instances.get
        grant_project deployer "projects/$PROJECT/roles/${PREFIX//-/_}_backup"
    fi
    grant_secret "$URL_WORKER" worker roles/secretmanager.secretAccessor
    grant_secret "$URL_GATEWAY" gateway roles/secretmanager.secretAccessor
    for secret in "$URL_MIGRATE" "$URL_WORKER" "$URL_GATEWAY"; do
        grant_secret "$secret" migrate roles/secretmanager.secretAccessor
        # Sees which versions there are, not what they say.
        grant_secret "$secret" deployer roles/secretmanager.viewer
    done
    grant_project deployer roles/run.developer
    grant_project deployer roles/logging.logWriter
    for name in worker gateway migrate; do
        run gcloud iam service-accounts add-iam-policy-binding "$(account $name)" \
            --project="$PROJECT" --member="serviceAccount:$(account deployer)" \
            --role=roles/iam.serviceAccountUser --quiet
    done
    run gcloud artifacts repositories add-iam-policy-binding "$PREFIX" --location="$REGION" \
        --project="$PROJECT" --member="serviceAccount:$(account deployer)" \
        --role=roles/artifactregistry.writer --quiet
    run gcloud storage buckets add-iam-policy-binding "gs://$PROJECT-$PREFIX-source" \
        --member="serviceAccount:$(account deployer)" --role=roles/storage.objectViewer
}

# What --secret names: Cloud Run starts no instance whose account may not read it.
grant_given_secrets() {
    local given secret name
    for given in "${SECRETS[@]}"; do
        secret=${given#*=} secret=${secret%:*}
        step "letting shards and gateway read the secret $secret" \
            "make it first: gcloud secrets create $secret --project=$PROJECT --data-file=-; then run setup again"
        for name in worker gateway; do grant_secret "$secret" "$name" roles/secretmanager.secretAccessor; done
    done
}

grant_project() {
    run gcloud projects add-iam-policy-binding "$PROJECT" \
        --member="serviceAccount:$(account "$1")" --role="$2" --condition=None --quiet
}

grant_secret() {
    run gcloud secrets add-iam-policy-binding "$1" --project="$PROJECT" \
        --member="serviceAccount:$(account "$2")" --role="$3" --quiet
}

#!/bin/sh
# Makes the secrets of compose.yaml, once: every password by chance, none shown. What exists stays.
#   compose/secrets.sh [FOLDER]
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# Containers of several users read the files; on this host nobody but their owner gets this far.
chmod 700 "$folder"

random() {
    LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$1"
}

# keep NAME: the standard input becomes the secret NAME, whole or not at all, unless there is one.
keep() {
    if [ -e "$folder/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"$folder/.$1.new"
    chmod 444 "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
}

random 64 | keep secret_key
random 40 | keep database_password
random 40 | keep broker_password
random 20 | keep s3_access_key_id
random 40 | keep s3_secret_access_key

printf 'postgres://tumorsite:%s@database:5432/tumorsite' "$(cat "$folder/database_password")" |
    keep database_url
printf 'redis://:%s@broker:6379/0' "$(cat "$folder/broker_password")" | keep broker_url
# Full, it must say so rather than drop a job.
printf '%s\n' "requirepass $(cat "$folder/broker_password")" "dir /data" "save 60 1" \
    "appendonly yes" "maxmemory 400mb" "maxmemory-policy noeviction" | keep broker.conf
# The site may use its one bucket and nothing else; nobody may without a key.
cat <<JSON | keep s3.json
{"identities": [{"name": "site",
  "credentials": [{"accessKey": "$(cat "$folder/s3_access_key_id")",
                   "secretKey": "$(cat "$folder/s3_secret_access_key")"}],
  "actions": ["Read:tumorsite", "Write:tumorsite", "List:tumorsite", "Tagging:tumorsite"]}]}
JSON
# Mail: write smtps://user:password@host:465 into it; empty, mails are files in the data folder.
printf '' | keep email_url
# Who is told of networks and drift: write NOTIFY_URLS into it; empty, nobody.
printf '' | keep notify_urls
echo "The secrets are in $folder."

#!/bin/sh
# Fills in the secrets that stand empty in an env file; what has a value is left alone.
#
#   cp .env.example .env && sh deploy/fill_secrets.sh .env
set -eu
file=${1:?usage: sh deploy/fill_secrets.sh .env}
chmod 600 "$file"

hex() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }
fernet() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

# Through a file beside it, which keeps the secrets out of the list of processes.
fill() {
    if grep -q "^$1=\$" "$file"; then
        while IFS= read -r line || [ -n "$line" ]; do
            [ "$line" = "$1=" ] && line="$1=$2"
            printf '%s\n' "$line"
        done < "$file" > "$file.filling"
        cat "$file.filling" > "$file"
        rm "$file.filling"
        echo "$1 filled in"
    fi
}
umask 077
fill SECRET_KEY "$(hex)"
fill KEY_PEPPER "$(hex)"
fill ENCRYPTION_KEY "$(fernet)"
fill MASTER_KEY "sk-admin-$(hex)"
fill LITELLM_MASTER_KEY "sk-$(hex)"
fill POSTGRES_PASSWORD "$(hex)"

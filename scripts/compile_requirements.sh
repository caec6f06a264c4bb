#!/bin/sh
# Compiles pyproject.toml into three hashed lists: requirements.txt (a clone: runtime, tests, linters),
# requirements-runtime.txt (the image: runtime alone, the same versions) and requirements-litellm.txt (runtime and
# LiteLLM's SDK). Needs uv; UV=path names another one.
#
#   scripts/compile_requirements.sh              keep the versions that stand there, add what is missing
#   scripts/compile_requirements.sh --upgrade    take newer ones (any option of `uv pip compile` is passed on)
#   scripts/compile_requirements.sh --check      change nothing; fail when the files do not fit pyproject.toml
set -eu
cd "$(dirname "$0")/.."

folder=.
if [ "${1:-}" = "--check" ]; then
    shift
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    cp requirements.txt requirements-runtime.txt requirements-litellm.txt "$folder"
fi

# One file for every Python from 3.11 on, and no address of a package registry in it.
compile() {
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header "$@" > /dev/null
}
compile pyproject.toml --group test --group dev --output-file "$folder/requirements.txt" "$@"
# Started from the full list, so that what is shipped is what was tested.
cp "$folder/requirements.txt" "$folder/requirements-runtime.txt"
compile pyproject.toml --output-file "$folder/requirements-runtime.txt"
# What both have is the image's. Without annotations, since those would name this folder.
compile pyproject.toml --extra litellm --constraint "$folder/requirements-runtime.txt" --no-annotate \
    --output-file "$folder/requirements-litellm.txt" "$@"

if [ "$folder" != . ]; then
    for file in requirements.txt requirements-runtime.txt requirements-litellm.txt; do
        diff -u "$file" "$folder/$file" || { echo "$file does not fit pyproject.toml: compile it again." >&2; exit 1; }
    done
fi

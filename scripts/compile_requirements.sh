#!/bin/sh
# Compiles pyproject.toml into two hashed lists: requirements.txt (a clone: runtime, tests, linters) and
# requirements-runtime.txt (the image: runtime alone, the same versions). Needs uv; UV=path names another one.
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
    cp requirements.txt requirements-runtime.txt "$folder"
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

if [ "$folder" != . ]; then
    for file in requirements.txt requirements-runtime.txt; do
        diff -u "$file" "$folder/$file" || { echo "$file does not fit pyproject.toml: compile it again." >&2; exit 1; }
    done
fi

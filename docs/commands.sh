#!/usr/bin/env bash
# Prints commands.md, from what the commands say of themselves: docs/commands.sh > docs/commands.md
# `coda` must be in the path. The test `book` holds the page to it.
set -euo pipefail
printf '# Every command and flag\n\nMade by `docs/commands.sh`. With `--json` a command prints one object, for machines.\n'
for command in "" demo pack inspect plan run listen verify eval report bench cpu self-test keygen sign sign-keys verify-signature; do
  printf '\n## coda%s\n\n```console\n$ coda %s\n' "${command:+ $command}" "${command:+$command }--help"
  coda $command --help
  printf '```\n'
done

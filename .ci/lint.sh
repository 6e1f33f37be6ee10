#!/usr/bin/env bash
# What nothing calls, what staticcheck finds, and what gofmt would change. A function that only tests reach is listed in .ci/unreachable.txt with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
"$go" run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
found=$("$go" run golang.org/x/tools/cmd/deadcode@v0.51.0 ./cmd/retool | sed -E 's/:[0-9]+:[0-9]+: unreachable func: / /' | LC_ALL=C sort)
allowed=$(sed -E '/^(#|$)/d; s/ +#.*//' .ci/unreachable.txt | LC_ALL=C sort)
if ! diff <(echo "$allowed") <(echo "$found") >/dev/null; then
  LC_ALL=C comm -13 <(echo "$allowed") <(echo "$found") | sed 's/^/lint: nothing calls /'
  LC_ALL=C comm -23 <(echo "$allowed") <(echo "$found") | sed 's/$/: something calls it now, or it is gone: take it out of .ci\/unreachable.txt/; s/^/lint: /'
  exit 1
fi
loose=$(git ls-files -z '*.go' | xargs -0 "$("$go" env GOROOT)/bin/gofmt" -l)
if [ -n "$loose" ]; then
  echo "$loose" | sed 's/$/: gofmt has not been run/; s/^/lint: /'
  exit 1
fi
long=$(git ls-files -z '*.go' | xargs -0 python3 -c '
import sys
for name in sys.argv[1:]:
    for n, line in enumerate(open(name, encoding="utf-8"), 1):
        if len(line.rstrip("\n")) > 140:
            print(f"{name}:{n}: {len(line) - 1} columns")
')
if [ -n "$long" ]; then
  echo "$long" | head -20
  echo "lint: $(echo "$long" | wc -l) lines of Go over 140 columns"
  exit 1
fi
echo "lint: clean"

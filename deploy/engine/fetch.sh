#!/usr/bin/env bash
# Installs the pinned ClickHouse engine beside this script, as the lock file has it.
set -euo pipefail
cd "$(dirname "$0")"
library=node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
stamp=node_modules/.whosehop-lock
if [ -f "$library" ] && cmp -s package-lock.json "$stamp"; then
  exit 0
fi
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
  echo "The embedded engine is pinned for Linux on x86-64; install clickhouse or use --storage-dsn." >&2
  exit 1
fi
command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer with npm." >&2; exit 1; }
echo "Fetching the ClickHouse engine (some 180 MB, once)…" >&2
npm ci --no-audit --no-fund --loglevel=error >&2 &
job=$!
while kill -0 "$job" 2>/dev/null; do
  sleep 2
  size=$(du -sm node_modules 2>/dev/null | cut -f1 || true)
  printf '  %s of about 540 MB unpacked\n' "${size:-0} MB" >&2
done
wait "$job"
cp package-lock.json "$stamp"

#!/usr/bin/env bash
# Starts whosehop and the shop with a fault, prints the first verdict, and goes on until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
fault=${1:-leaf-error}
work=$(mktemp -d "${TMPDIR:-/tmp}/whosehop-demo.XXXXXX")
up= shop=
finish() {
  trap - EXIT INT TERM
  echo
  echo "Stopping…"
  for pid in $shop $up; do kill "$pid" 2>/dev/null || true; done
  for pid in $shop $up; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 0' INT TERM

bin/shop owners >"$work/owners.yaml"
bin/whosehop up --storage-dir "$work/data" --ownership-file "$work/owners.yaml" --analyzer-quiet 2s \
  --collector-grpc :0 --collector-http :0 --query-http :0 --query-grpc :0 2>"$work/up.log" &
up=$!
at() { sed -nE "s#^ *$1 +##p" "$work/up.log" | head -n 1; }
for _ in $(seq 600); do
  web=$(at 'web, REST')
  [ -n "$web" ] && break
  kill -0 $up 2>/dev/null || { cat "$work/up.log" >&2; exit 1; }
  sleep 0.1
done
web=${web%/}
echo "The shop runs healthy for a few seconds, so that what is normal is known…"
bin/shop run --for 6s --otlp "http://$(at OTLP/gRPC)" >/dev/null &
shop=$!
wait $shop
bin/shop run --fault "$fault" --otlp "http://$(at OTLP/gRPC)" &
shop=$!
echo "Waiting for the first verdict…"
id=
for _ in $(seq 120); do
  id=$(curl -fsS "$web/api/v1/verdicts?pageSize=1" 2>/dev/null | sed -nE 's/.*"traceId":"([0-9a-f]{32})".*/\1/p' || true)
  [ -n "$id" ] && break
  kill -0 $shop 2>/dev/null || exit 1
  sleep 0.5
done
[ -n "$id" ] || { echo "There is no verdict after a minute; the log:" >&2; tail -n 20 "$work/up.log" >&2; exit 1; }
echo
bin/whosehop blame "$id" --server "$web"
cat <<EOF

Look further:
  bin/whosehop blame $id --server $web
  bin/whosehop top --since 10m --server $web
  $web/verdicts/$id
  $web/owners

The shop goes on; Ctrl-C ends everything.
EOF
wait $shop

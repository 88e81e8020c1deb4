#!/usr/bin/env bash
# Brings the cluster up as a project of its own, and checks from spans to verdicts that it does what it is for: traces
# are sharded and replicated, a Keeper, a replica and a whole shard may be away, and nothing acknowledged is lost.
# It takes everything away again. It needs Docker 25 with Compose 2.20.2, or later, and curl.
set -euo pipefail
cd "$(dirname "$0")"

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
CLICKHOUSE_PASSWORD=$(secret) CLUSTER_SECRET=$(secret) COLLECTOR_TOKEN=$(secret) QUERY_TOKEN=$(secret)
export CLICKHOUSE_PASSWORD CLUSTER_SECRET COLLECTOR_TOKEN QUERY_TOKEN
# Not the usual ports: a cluster may be running beside.
export COLLECTOR_GRPC_PORT=${COLLECTOR_GRPC_PORT:-24317} COLLECTOR_HTTP_PORT=${COLLECTOR_HTTP_PORT:-24318}
export QUERY_HTTP_PORT=${QUERY_HTTP_PORT:-28080} QUERY_GRPC_PORT=${QUERY_GRPC_PORT:-28081}

traces=40 # of one round: enough that both shards get some
spans=3   # of one trace
hosts='ch-1-1 ch-1-2 ch-2-1 ch-2-2'

compose() { docker compose --project-name whosehop-check --file compose.yaml "$@"; }
step() { printf '\n== %s\n' "$*"; }
ok() { printf '   ok: %s\n' "$*"; }
fail() {
  printf '   FAILED: %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d "${TMPDIR:-/tmp}/whosehop-check.XXXXXX")
finish() {
  local code=$?
  trap - EXIT INT TERM
  if [ "$code" -ne 0 ]; then
    printf '\nWhat the containers say:\n' >&2
    compose ps --all >&2 || true
    compose logs --no-color --tail 15 >&2 || true
  fi
  printf '\nTaking the cluster away…\n'
  compose down --volumes --timeout 20 >/dev/null 2>&1 || true
  rm -rf "$work"
  [ "$code" -eq 0 ] || printf 'The check FAILED.\n' >&2
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# eventually SECONDS WHAT COMMAND...: it comes true within a time.
eventually() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || fail "$what"
    sleep 1
  done
  ok "$what"
}

# sql HOST QUERY: on that host alone, as the user of whosehop.
sql() { compose exec -T "$1" clickhouse client --database whosehop --query "$2"; }

# ask PATH: what the query server answers; it fails unless that is 200.
ask() { curl -fsS --max-time 30 -H "Authorization: Bearer $QUERY_TOKEN" "http://127.0.0.1:$QUERY_HTTP_PORT$1"; }

# ids ROUND: its trace ids. of_round ROUND: that, in SQL.
run=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
ids() {
  local i
  for i in $(seq "$traces"); do printf '%s%04x%04x\n' "$run" "$1" "$i"; done
}
of_round() { printf "startsWith(TraceId, '%s%04x')" "$run" "$1"; }

# trace ID SECONDS: the spans of a checkout that failed because payments did: its owner is to be blamed.
trace() {
  cat <<JSON
{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}},
    {"key": "service.owner.name", "value": {"stringValue": "team-checkout"}}]},
  "scopeSpans": [{"spans": [
    {"traceId": "$1", "spanId": "00000000000000a1", "name": "POST /checkout", "kind": 2, "status": {"code": 2},
      "startTimeUnixNano": "${2}000000000", "endTimeUnixNano": "${2}090000000"},
    {"traceId": "$1", "spanId": "00000000000000a2", "parentSpanId": "00000000000000a1", "name": "payments.Charge", "kind": 3,
      "status": {"code": 2}, "startTimeUnixNano": "${2}010000000", "endTimeUnixNano": "${2}080000000"}]}]},
{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "payments"}},
    {"key": "service.owner.name", "value": {"stringValue": "team-payments"}}]},
  "scopeSpans": [{"spans": [
    {"traceId": "$1", "spanId": "00000000000000a3", "parentSpanId": "00000000000000a2", "name": "payments.Charge", "kind": 2,
      "status": {"code": 2, "message": "the ledger is corrupt"}, "startTimeUnixNano": "${2}020000000", "endTimeUnixNano": "${2}070000000",
      "events": [{"timeUnixNano": "${2}060000000", "name": "exception",
        "attributes": [{"key": "exception.type", "value": {"stringValue": "LedgerCorrupt"}}]}]}]}]}
JSON
}

# send ROUND: all its traces in one request. It fails unless the collector acknowledges every span.
send() {
  local id now comma=''
  now=$(date +%s)
  {
    printf '{"resourceSpans": ['
    for id in $(ids "$1"); do
      printf '%s' "$comma"
      trace "$id" "$now"
      comma=,
    done
    printf ']}'
  } >"$work/request.json"
  curl -fsS --max-time 60 -H "Authorization: Bearer $COLLECTOR_TOKEN" -H 'Content-Type: application/json' --data-binary "@$work/request.json" \
    "http://127.0.0.1:$COLLECTOR_HTTP_PORT/v1/traces" >"$work/answer.json" || fail 'the collector has not taken the traces'
  ! grep -q rejectedSpans "$work/answer.json" || fail "spans were rejected: $(cat "$work/answer.json")"
  ok "the collector has acknowledged $traces traces"
}

# judged ROUND: an analyzer has judged every trace of it, and the verdicts that are given blame payments.
judged() {
  local id
  [ "$(sql ch-1-1 "SELECT uniqExact(TraceId) FROM verdicts WHERE $(of_round "$1")" 2>/dev/null)" = "$traces" ] || return 1
  for id in $(ids "$1"); do blamed_right "$id" || return 1; done
}
blamed_right() {
  ask "/api/v1/verdicts/$1" >"$work/verdict.json" 2>/dev/null && tr -d ' \n' <"$work/verdict.json" | grep -q '"accountable":"payments","owner":"team-payments"'
}

# held HOST ROUND: its spans there, the different ones among them, and those that belong to the other shard.
held() {
  sql "$1" "SELECT count(), uniqExact(TraceId, SpanId), countIf(cityHash64(TraceId) % 2 + 1 != toUInt8(getMacro('shard')))
    FROM otel_traces_local WHERE $(of_round "$2")" 2>/dev/null
}

# stored ROUND HOST...: these hold each span of the round on its shard, once on every replica, and together all of them.
stored() {
  local round=$1 host count different strange shard first=0 second=0
  shift
  for host in "$@"; do
    read -r count different strange <<<"$(held "$host" "$round")"
    [ "${count:-0}" -gt 0 ] && [ "$count" = "$different" ] && [ "$strange" = 0 ] || return 1
    shard=${host#ch-}
    if [ "${shard%-*}" = 1 ]; then
      [ "$first" = 0 ] || [ "$first" = "$count" ] || return 1
      first=$count
    else
      [ "$second" = 0 ] || [ "$second" = "$count" ] || return 1
      second=$count
    fi
  done
  [ $((first + second)) = $((traces * spans)) ]
}

# complete: the list of verdicts has some, and says that nothing is missing.
complete() { ask '/api/v1/verdicts?pageSize=1' >"$work/list.json" 2>/dev/null && grep -q '"traceId"' "$work/list.json" && ! misses; }
# incomplete: the list has some, and says what is missing.
incomplete() { ask '/api/v1/verdicts?pageSize=1' >"$work/list.json" 2>/dev/null && grep -q '"traceId"' "$work/list.json" && misses; }
misses() { tr -d ' \n' <"$work/list.json" | grep -q '"missing":\["'; }

docker compose version >/dev/null || fail 'Docker with Compose is needed: https://docs.docker.com/compose/install/'

step 'The cluster comes up'
compose up --build --detach --wait --wait-timeout 600
ok 'all containers are healthy'

step 'From spans to verdicts'
send 1
# shellcheck disable=SC2086 # a list of hosts
eventually 60 'every span is on its shard, once on both replicas' stored 1 $hosts
eventually 90 'every trace is judged, and payments is to blame' judged 1
eventually 10 'the list of verdicts is complete' complete

step 'One Keeper is away'
compose stop keeper-1 >/dev/null 2>&1
send 2
# shellcheck disable=SC2086
eventually 90 'every span is on its shard, once on both replicas' stored 2 $hosts
eventually 90 'every trace is judged' judged 2
compose start keeper-1 >/dev/null 2>&1

step 'One replica is away'
compose stop ch-1-2 >/dev/null 2>&1
judged 1 || fail 'the verdicts from before are not there'
ok 'the verdicts from before are there'
send 3
eventually 90 'every span is on its shard, once on each replica that is left' stored 3 ch-1-1 ch-2-1 ch-2-2
eventually 90 'every trace is judged' judged 3
eventually 30 'the list of verdicts is complete' complete
compose start ch-1-2 >/dev/null 2>&1
# shellcheck disable=SC2086
eventually 120 'the replica has caught up' stored 3 $hosts

step 'A whole shard is away'
compose stop ch-2-1 ch-2-2 >/dev/null 2>&1
eventually 30 'the list of verdicts has those of the other shard, and says what is missing' incomplete
send 4
# left ROUND: one of its traces has a verdict on the shard that is left, and the query server gives it.
left() {
  local id
  id=$(sql ch-1-1 "SELECT TraceId FROM verdicts_local WHERE $(of_round "$1") LIMIT 1" 2>/dev/null)
  [ -n "$id" ] && blamed_right "$id"
}
eventually 30 'verdicts from before are there' left 1
eventually 90 'new traces are judged' left 4

step 'The shard is back'
compose start ch-2-1 ch-2-2 >/dev/null 2>&1
for round in 1 2 3 4; do
  # shellcheck disable=SC2086
  eventually 180 "round $round: every acknowledged span is on its shard, once on both replicas" stored "$round" $hosts
  eventually 120 "round $round: every trace is judged" judged "$round"
done
eventually 60 'the list of verdicts is complete' complete

printf '\nAll is well: %d spans acknowledged, all stored and judged.\n' $((4 * traces * spans))

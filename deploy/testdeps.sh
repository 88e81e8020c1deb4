#!/usr/bin/env bash
# Installs what the tests need beside Go and the engine: Chromium, Prometheus, the Node.js SDK, telemetrygen.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  packages="chromium fonts-dejavu-core"
fi
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
  packages="$packages prometheus"
fi
if [ -n "$packages" ]; then
  sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  command -v apt-get >/dev/null || { echo "There is no apt-get: install $packages." >&2; exit 1; }
  echo "Installing $packages…" >&2
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi
node=internal/e2e/node
if ! cmp -s $node/package-lock.json $node/node_modules/.whosehop-lock; then
  command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer with npm." >&2; exit 1; }
  version=$(node --version) # v20.11.0
  major=${version#v}
  [ "${major%%.*}" -ge 20 ] || { echo "Node.js is $version: install 20 or newer." >&2; exit 1; }
  (cd $node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp $node/package-lock.json $node/node_modules/.whosehop-lock
fi
[ -x .cache/bin/telemetrygen ] ||
  GOBIN=$PWD/.cache/bin go install github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v0.161.0
[ -x .cache/bin/grpcurl ] ||
  GOBIN=$PWD/.cache/bin go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4

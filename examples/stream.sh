#!/bin/sh
# Candles as one JSON object a line, for jq, a file or a pipe. It comes back after every cut and goes on
# after the last candle it printed; after a long break some completed candles may come again.
#
#     examples/stream.sh http://localhost:8080 BTC-USD 1m | jq -r '[.start, .close, .complete] | @tsv'
set -eu

gateway=${1:-http://localhost:8080}
product=${2:-BTC-USD}
granularity=${3:-1m}
last=$(mktemp)
reader=
trap 'rm -f "$last"' EXIT
trap '[ -z "$reader" ] || kill "$reader" 2>/dev/null || :; exit 0' INT TERM

while :; do
  # Less than a byte a second for 15 s: three heartbeats are missing.
  curl --silent --show-error --fail --no-buffer --speed-limit 1 --speed-time 15 \
    --header "Last-Event-ID: $(cat "$last")" \
    "$gateway/api/v1/stream?product=$product&granularity=$granularity&format=json" |
    while IFS= read -r line; do
      case $line in
        'event: '*) event=${line#event: } id='' ;;
        'id: '*) id=${line#id: } ;;
        'data: '*)
          [ "$event" != candle ] || printf '%s\n' "${line#data: }"
          # Candles replayed out of the tables have no id: a break goes on after the last that had one.
          [ -z "$id" ] || printf '%s' "$id" >"$last"
          ;;
      esac
    done &
  reader=$!
  wait "$reader" || : # which a signal ends at once; curl ends when nobody takes what it writes
  sleep 1
done

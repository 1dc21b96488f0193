#!/bin/bash
# Gives a study to a cluster whose dashboard is at $RAY_API_SERVER_ADDRESS (http://HEAD:8265) and follows its log.
set -euo pipefail
name=${1:?name of the study}
ray job submit --address "${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" --entrypoint-num-cpus 0 -- \
  bash -c "cd /shared && emotion-circuits run --profile baseline --out runs/$name --engine ray --engine-option address=auto"

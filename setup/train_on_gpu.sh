#!/usr/bin/env bash
# Continues the training of the demo's networks on a GPU machine with many cores,
# and exports them: setup/train_on_gpu.sh FOLDER. FOLDER takes views, checkpoints and the exported
# files. A second call resumes from what the first left there.
#
# The views render on all cores first, and more of them while the networks train. The steps are
# an estimate for half an hour of an H200, not tried there. Variables change them.
set -euo pipefail
FOLDER=$(realpath -m "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
VIEWS=${VIEWS:-$FOLDER/views}
PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda:0}
CORES=${CORES:-$(nproc)}
FIRST_SCENES=${FIRST_SCENES:-1500} # a minute and a half of 16 cores
SCENES=${SCENES:-6000}             # five minutes more
# Last steps of the three stages. They count on from those of the shipped networks (the card): 8800
# and 16000.
CLIP_STEPS=${CLIP_STEPS:-11000 20000 24000}
SAM_STEPS=${SAM_STEPS:-18000 22000 28000}
BEGUN=clip_surgery_ros/weights/demo

train_demo() {
  "$PYTHON" -c 'import sys; from clip_surgery_ros.tools.cli import main; sys.exit(main())' \
    train-demo "$@"
}

train() { # NETWORK SCENES STEPS DECAY ARGUMENTS: resumes from the network's checkpoint
  local network=$1 scenes=$2 steps=$3 decay=$4
  local checkpoint=$FOLDER/$network.pt
  shift 4
  [ ! -f "$checkpoint" ] || set -- "$@" --resume "$checkpoint"
  train_demo "$network" "$VIEWS" "$checkpoint" --scenes "$scenes" --steps "$steps" \
    --decay "$decay" --device "$DEVICE" --workers "$WORKERS" --validate-every 500 "$@" \
    ${BFLOAT16---bfloat16} >>"$FOLDER/$network.log" 2>&1
}

mkdir -p "$FOLDER"
train_demo views "$VIEWS" --scenes "$FIRST_SCENES" --processes "$CORES"
train_demo views "$VIEWS" --scenes "$SCENES" --processes $((CORES / 2 + 1)) \
  >"$FOLDER/views.log" 2>&1 &
RENDERING=$!
WORKERS=$((CORES / 4 + 1))
read -r CLIP_FIRST CLIP_MORE CLIP_LAST <<<"$CLIP_STEPS"
read -r SAM_FIRST SAM_MORE SAM_LAST <<<"$SAM_STEPS"

views_are_rendered() { # waits for them; they are no children of the trainings' shells
  while kill -0 "$RENDERING" 2>/dev/null; do sleep 2; done
}

train_clip() { # windows at 96 pixels, in the end at 128
  [ -f "$FOLDER/clip.pt" ] || train clip "$FIRST_SCENES" "$CLIP_FIRST" 0 \
    --resume "$BEGUN/clip_demo.safetensors"
  views_are_rendered
  train clip "$SCENES" "$CLIP_MORE" 0
  train clip "$SCENES" "$CLIP_LAST" $((CLIP_LAST - CLIP_MORE)) --side 128
}

train_sam() {
  [ -f "$FOLDER/sam.pt" ] || train sam "$FIRST_SCENES" "$SAM_FIRST" 0 --rate 1.2e-3 \
    --resume "$BEGUN/sam_demo.safetensors"
  views_are_rendered
  train sam "$SCENES" "$SAM_MORE" 0 --rate 1.2e-3
  train sam "$SCENES" "$SAM_LAST" $((SAM_LAST - SAM_MORE)) --rate 1.2e-3
}

train_clip &
CLIP=$!
train_sam &
SAM=$!
wait "$RENDERING"
wait "$CLIP"
wait "$SAM"
train_demo export "$FOLDER/clip.pt" "$FOLDER/sam.pt" "$FOLDER/exported"

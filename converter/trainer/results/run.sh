#!/usr/bin/env bash
# Trains, packs and measures what RESULTS.md shows, then writes it.
#
#   converter/trainer/results/run.sh [TASK...]     reuters-r8 reuters-r52 20newsgroups fashion mnist; all by default
#
# SEEDS="1 2 3" and METHODS="probe adapter coda r4:1 ..." choose what is run, `:1` with seed 1 at most; by default
# all that RESULTS.md shows but its trials and `fast-5000`. Everything goes on where it stopped: a finished training
# is not repeated, an interrupted one continues. Weights and curves stay in
# ${XDG_CACHE_HOME:-~/.cache}/coda-edge/runs (remove one to repeat it), a line for each comes here. Needs tests/fetch.sh. FEATURES=onednn multiplies in bf16 through the
# system's oneDNN (Debian: libdnnl-dev).
#
# `short` is a short training for r = 4 and 8, and each `short-...` the same with one thing changed: what an
# ablation shows does not need the long one. `r4` is trained for r = 4 alone. `fast` (20newsgroups) is a long
# training for two speeds only, with a milder reduction in the first layer, and `ensemble` one of half the length
# that the adapters of seeds 1, 2 and 3 teach together; `adapter-taught` is an adapter that they teach.
set -euo pipefail
cd "$(dirname "$0")/../../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge
results=converter/trainer/results
seeds=${SEEDS:-1 2 3}
one="r1:1 r2:1 r3:1 r4:1 r6:1 r8:1"
ablations="short short-random short-first short-every short-sigmoid short-exact short-fitted short-k-to-k
  short-no-distillation short-pretrained"
tasks=("$@")
[ ${#tasks[@]} -gt 0 ] || tasks=(reuters-r8 reuters-r52 20newsgroups fashion mnist)
# Large blocks are reused, not mapped anew for each step (glibc).
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184
export OMP_NUM_THREADS=${RAYON_NUM_THREADS:-1} RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-1}

cargo build --locked --release -p coda-trainer ${FEATURES:+--features "$FEATURES"}
cargo build --locked --release -p coda-converter
trainer=target/release/coda-trainer coda=target/release/coda

for task in "${tasks[@]}"; do
  attention=k-to-low-rank size=() short_steps=300 elastic=1,2,4,8 mixed=() methods="probe adapter coda"
  case $task in
    reuters-r8 | reuters-r52 | 20newsgroups)
      base=$cache/minilm test=$cache/$task-test.tsv
      dense=()
      common=(--data "$cache/$task-train.tsv" --batch 16 --average 0.99 --validation 0.05)
      routed=(--low-rank 48)
      methods+=" $ablations short-k-to-all"
      if [ "$task" = 20newsgroups ]; then
        # Layers are unequal here: each has its own reduction in a step.
        common+=(--max-tokens 128) dense_steps=2000 routed_steps=3000 elastic=1,2,4,8,16 mixed=(--mix-layers)
        methods+=" fitted fast ensemble adapter-taught:1 r4:1 r8:1"
      else
        common+=(--max-tokens 256) dense_steps=600 routed_steps=1000
        [ "$task" = reuters-r52 ] || methods+=" $one random:1"
      fi
      ;;
    fashion)
      base=converter/default/fashion-vit test=$cache/fashion-mnist/t10k-images-idx3-ubyte.gz
      # As converter/default/train.sh, which makes the bundled task.
      common=(--data "$cache/fashion-mnist/train-images-idx3-ubyte.gz" --flip --average 0.998 --validation 0.02
        --adapter-hidden 12 --adapter-activation gelu --head-rate 1e-3)
      dense=(--rate 1e-3 --norm-rate 3e-4 --smoothing 0.05) dense_steps=800
      routed=(--norm-rate 5e-4) routed_steps=3000 short_steps=600 attention=k-to-all
      methods+=" $ablations short-k-to-light $one"
      ;;
    mnist)
      "$results/dinov2.sh"
      base=$cache/dinov2-s test=$cache/mnist-112/t10k-images-idx3-ubyte size=(--image-size 112)
      common=(--data "$cache/mnist-112/train-images-idx3-ubyte" --batch 16 --average 0.99 --validation 0.01
        --rate 3e-4 --norm-rate 1e-4 --head-rate 1e-3)
      dense=() dense_steps=600
      routed=() routed_steps=800 attention=k-to-all
      ;;
    *)
      echo "run.sh: there is no task $task" >&2
      exit 2
      ;;
  esac
  for method in ${METHODS:-$methods}; do
    only=${method#*:}
    [ "$only" != "$method" ] || only=$seeds
    method=${method%:*}
    for seed in $seeds; do
      case " $only " in *" $seed "*) ;; *) continue ;; esac
      name=$method-s$seed
      out=$cache/runs/$task/$name
      adapter=$cache/runs/$task/adapter-s$seed/task.safetensors
      taught=(--teacher "$adapter")
      case $task in reuters-* | 20newsgroups) taught+=(--answers "$cache/runs/$task/answers-s$seed.safetensors") ;; esac
      together=(--answers "$cache/runs/$task/answers-ensemble.safetensors")
      for teacher in 1 2 3; do
        together+=(--teacher "$cache/runs/$task/adapter-s$teacher/task.safetensors")
      done
      trained=$elastic tested=1,2,3,4,6,8 measured=1,2,3,4,6,8,12,16 mode=$attention
      own=(--init "$adapter" --steps "$routed_steps" "${routed[@]}" --evaluate-every 500) factors=()
      case $method in
        probe) own=(--method linear-probe --steps "$dense_steps" "${dense[@]}" --evaluate-every 200) taught=() ;;
        adapter) own=(--method parallel-adapter --steps "$dense_steps" "${dense[@]}" --evaluate-every 200) taught=() ;;
        adapter-taught)
          [ "$task" = 20newsgroups ] || continue
          own=(--method parallel-adapter --steps "$dense_steps" "${dense[@]}" --evaluate-every 200 --soft-labels 0.9)
          taught=("${together[@]}")
          ;;
        coda) own+=("${mixed[@]}") ;;
        fitted) own+=("${mixed[@]}" --router-start saliency) ;;
        fast | ensemble)
          [ "$task" = 20newsgroups ] || continue
          # 3 and 5 times as fast as the adapter.
          trained=10.5,26 tested=$trained measured=1,$trained,28 factors=(--layer-factors 0.125,1,1,1,1,1)
          steps=10000
          [ "$method" = fast ] || steps=5000 taught=("${together[@]}")
          own=(--init "$adapter" --steps "$steps" "${routed[@]}" --evaluate-every 1000 "${factors[@]}"
            --router-start saliency --head-rate 2e-3 --norm-rate 5e-4 --soft-labels 0.9)
          ;;
        random) own+=(--selection random) ;;
        r1 | r2 | r3 | r4 | r6 | r8) trained=${method#r} tested=$trained measured=$trained ;;
        short | short-*)
          trained=4,8 tested=4,8 measured=4,8
          own=(--init "$adapter" --steps "$short_steps" "${routed[@]}" --evaluate-every "$short_steps")
          change=${method#short} change=${change#-}
          case $change in
            "") ;;
            random | first | every) own+=(--selection "$change") ;;
            sigmoid | exact) own+=(--gate "$change") ;;
            fitted) own+=(--router-start saliency) ;;
            k-to-k | k-to-all) mode=$change ;;
            k-to-light) mode=k-to-low-rank ;;
            no-distillation) taught=() ;;
            pretrained) own[1]=$cache/runs/$task/pretrain-s$seed/task.safetensors ;;
            *)
              echo "run.sh: there is no method $method" >&2
              exit 2
              ;;
          esac
          ;;
        *)
          echo "run.sh: there is no method $method" >&2
          exit 2
          ;;
      esac
      mkdir -p "$out"
      if [ ! -e "$out/training.json" ]; then
        echo "== $task, $name"
        if [ "$method" = short-pretrained ] && [ ! -e "${own[1]}" ]; then
          "$trainer" pretrain --base "$base" "${size[@]}" --out "$(dirname "${own[1]}")" --seed "$seed" \
            --steps $((2 * short_steps)) "${common[@]}" "${routed[@]}" --attention "$mode" --reductions "$trained"
        fi
        "$trainer" train --base "$base" "${size[@]}" --out "$out" --seed "$seed" --test "$test" "${common[@]}" \
          "${own[@]}" --attention "$mode" --reductions "$trained" \
          --test-reductions "$tested" "${taught[@]}"
      fi
      if [ -e "$out/task.safetensors" ] && [ ! -e "$out/eval.json" ]; then
        "$coda" pack --base "$base" "${size[@]}" --task "$out/task.safetensors" --weights int8 -o "$out/model.coda"
        reductions=$measured
        case $method in probe | adapter | adapter-taught) reductions=1 ;; esac
        "$coda" eval "$out/model.coda" --data "$test" --reductions "$reductions" "${factors[@]}" --json \
          >"$out/eval.json.part"
        mv "$out/eval.json.part" "$out/eval.json"
      fi
      "$trainer" collect --results "$results" "$out"
    done
  done
done
"$trainer" report "$results" --preface "$results/preface.md.in" --out RESULTS.md

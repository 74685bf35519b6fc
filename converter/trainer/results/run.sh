#!/usr/bin/env bash
# Trains, packs and measures what RESULTS.md shows, then writes it.
#
#   converter/trainer/results/run.sh [TASK...]     reuters-r8 reuters-r52 20newsgroups fashion mnist; all by default
#
# SEEDS="1 2 3" and METHODS="probe adapter coda ..." choose what is run. Everything goes on where it
# stopped: a finished training is not repeated, an interrupted one continues. Weights stay in
# ${XDG_CACHE_HOME:-~/.cache}/coda-edge/runs (remove one to repeat it), records come here. Needs
# tests/fetch.sh. FEATURES=onednn multiplies in bf16 through the system's oneDNN (Debian: libdnnl-dev).
set -euo pipefail
cd "$(dirname "$0")/../../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge
results=converter/trainer/results
seeds=${SEEDS:-1 2 3}
methods=${METHODS:-probe adapter coda r2 r4 r8 random first every sigmoid exact k-to-k k-to-all no-distillation}
tasks=("$@")
[ ${#tasks[@]} -gt 0 ] || tasks=(reuters-r8 reuters-r52 20newsgroups fashion mnist)
# Large blocks are reused, not mapped anew for each step (glibc).
export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184
export OMP_NUM_THREADS=${RAYON_NUM_THREADS:-1} RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-1}

cargo build --locked --release -p coda-trainer ${FEATURES:+--features "$FEATURES"}
cargo build --locked --release -p coda-converter
trainer=target/release/coda-trainer coda=target/release/coda

for task in "${tasks[@]}"; do
  attention=k-to-light size=()
  case $task in
    reuters-r8 | reuters-r52 | 20newsgroups)
      base=$cache/minilm test=$cache/$task-test.tsv
      dense=()
      common=(--data "$cache/$task-train.tsv" --batch 16 --average 0.99 --validation 0.05)
      routed=(--light-rank 48)
      if [ "$task" = 20newsgroups ]; then
        common+=(--max-tokens 128) dense_steps=1000 routed_steps=2000
      else
        common+=(--max-tokens 256) dense_steps=600 routed_steps=1000
      fi
      ;;
    fashion)
      base=converter/default/fashion-vit test=$cache/fashion-mnist/t10k-images-idx3-ubyte.gz
      # As converter/default/train.sh, which makes the bundled task.
      common=(--data "$cache/fashion-mnist/train-images-idx3-ubyte.gz" --flip --average 0.998 --validation 0.02
        --adapter-hidden 12 --adapter-activation gelu --head-rate 1e-3)
      dense=(--rate 1e-3 --norm-rate 3e-4 --smoothing 0.05) dense_steps=800
      routed=(--norm-rate 5e-4) routed_steps=3000 attention=k-to-all
      ;;
    mnist)
      "$results/dinov2.sh"
      base=$cache/dinov2-s test=$cache/mnist-112/t10k-images-idx3-ubyte size=(--image-size 112)
      common=(--data "$cache/mnist-112/train-images-idx3-ubyte" --batch 16 --average 0.99 --validation 0.02)
      dense=() dense_steps=600
      routed=() routed_steps=1000 attention=k-to-all
      ;;
    *)
      echo "run.sh: there is no task $task" >&2
      exit 2
      ;;
  esac
  for seed in $seeds; do
    for method in $methods; do
      name=$method-s$seed
      out=$cache/runs/$task/$name record=$results/$task/$name
      adapter=$cache/runs/$task/adapter-s$seed/task.safetensors
      taught=(--teacher "$adapter")
      case $task in reuters-* | 20newsgroups) taught+=(--answers "$cache/runs/$task/answers-s$seed.safetensors") ;; esac
      trained=1,2,4,8 mode=$attention
      own=(--init "$adapter" --steps "$routed_steps" "${routed[@]}" --evaluate-every 500)
      case $method in
        probe) own=(--method linear-probe --steps "$dense_steps" "${dense[@]}" --evaluate-every 200) taught=() ;;
        adapter) own=(--method parallel-adapter --steps "$dense_steps" "${dense[@]}" --evaluate-every 200) taught=() ;;
        coda) ;;
        r2 | r4 | r8) trained=${method#r} ;;
        random | first | every) own+=(--selection "$method") ;;
        sigmoid | exact) own+=(--gate "$method") ;;
        k-to-k | k-to-all | k-to-light) mode=$method ;;
        no-distillation) taught=() ;;
        *)
          echo "run.sh: there is no method $method" >&2
          exit 2
          ;;
      esac
      mkdir -p "$out" "$record"
      if [ ! -e "$out/training.json" ]; then
        echo "== $task, $name"
        "$trainer" train --base "$base" "${size[@]}" --out "$out" --seed "$seed" --test "$test" "${common[@]}" \
          "${own[@]}" --attention "$mode" --reductions "$trained" "${taught[@]}"
      fi
      cp "$out/training.json" "$record/training.json"
      [ -e "$out/task.safetensors" ] || continue
      if [ ! -e "$out/eval.json" ]; then
        "$coda" pack --base "$base" "${size[@]}" --task "$out/task.safetensors" --weights int8 -o "$out/model.coda"
        reductions=1,2,3,4,6,8,12,16
        case $method in probe | adapter) reductions=1 ;; esac
        "$coda" eval "$out/model.coda" --data "$test" --reductions "$reductions" --json >"$out/eval.json.part"
        mv "$out/eval.json.part" "$out/eval.json"
      fi
      cp "$out/eval.json" "$record/eval.json"
    done
  done
done
"$trainer" report "$results" --preface "$results/preface.md" --out RESULTS.md

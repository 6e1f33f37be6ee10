#!/bin/sh
# busy.sh RETOOL LLAMA_BATCHED_BENCH D128_GGUF PYTHON TRAIN_PY: decode and training of d128 by each program, on two processors, with none, one and
# two neighbours that spin, each on a processor of its own, at the same priority. GGUF: ../beside-decode/gguf_of_shapes.py; TRAIN_PY:
# ../pytorch-train/train.py.
export OMP_PROC_BIND=true OMP_PLACES=cores
for n in 0 1 2; do
	pids=
	for i in $(seq $n); do
		taskset -c $((2 - i)) sh -c 'while :; do :; done' &
		pids="$pids $!"
	done
	echo "$n neighbours"
	"$1" bench rollout --models d128 --batches 1,8,32 --budget 1s 2>/dev/null | grep '^decode'
	"$1" bench train --models d128 --budget 2s 2>/dev/null | grep S128
	timeout 12 "$2" -m "$3" -c 16384 -b 2048 -ub 512 -npp 16 -ntg 128 -npl 1,8,32 -t 2 -tb 2 2>/dev/null | grep '^| *[0-9]' || echo "llama.cpp: nothing in 12 s"
	env -u OMP_PROC_BIND -u OMP_PLACES timeout 40 "$4" "$5" d128 --compile --seconds 3
	[ -z "$pids" ] || kill $pids
done

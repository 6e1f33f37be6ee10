package main

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// setting is one leaf of a Config. What it is stands in the tags of its field, and nowhere else:
//
//	yaml    its name
//	doc     what it is, and where its default comes from: "paper" is arXiv 2504.11536, "recipe" the public 32B recipe with the best
//	        published accuracy, where the paper is silent; "choice" is ours
//	resume  what a run that goes on does with another value; empty: it is refused, since it would change the run's bits
type setting struct {
	key    string // with its sections, such as rl.lr
	doc    string
	resume string // resumeFree, resumeExtends or ""
	field  []int  // where it stands in a Config
	value  reflect.Value
}

// Values of a resume tag. That of a section holds for everything in it. What a data file holds is compared by its hash, so its name is
// free; how calls are read by the protocol's contract.
const (
	resumeFree    = "free"    // changes no bit
	resumeExtends = "extends" // says how long the run goes on
)

// settings lists those of a Config in the order of its fields. Of a pointer's target the values can be set.
func settings(c *Config) []setting {
	all := slices.Clone(everySetting())
	root := reflect.ValueOf(c).Elem()
	for i := range all {
		all[i].value = root.FieldByIndex(all[i].field)
	}
	return all
}

// everySetting is what the tags say: the settings of no Config in particular, read once.
var everySetting = sync.OnceValue(func() []setting { return leaves(reflect.TypeFor[Config](), setting{}) })

// leaves are the settings of a section.
func leaves(section reflect.Type, at setting) (all []setting) {
	for i := range section.NumField() {
		field := section.Field(i)
		if !field.IsExported() {
			continue
		}
		name, inline := yamlName(field)
		s := setting{
			key: at.key + name, doc: field.Tag.Get("doc"), resume: cmp.Or(field.Tag.Get("resume"), at.resume),
			field: append(slices.Clone(at.field), i),
		}
		switch {
		case inline:
			s.key, s.resume = at.key, at.resume
			all = append(all, leaves(field.Type, s)...)
		case field.Type.Kind() == reflect.Struct:
			s.key += "."
			all = append(all, leaves(field.Type, s)...)
		default:
			all = append(all, s)
		}
	}
	return all
}

// yamlName is a field's key. The fields of an inline struct stand where it does.
func yamlName(field reflect.StructField) (name string, inline bool) {
	name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return cmp.Or(name, strings.ToLower(field.Name)), options == "inline"
}

// text is the value as a message shows it.
func (s setting) text() string {
	if s.value.Kind() == reflect.String && s.value.Len() == 0 {
		return `""`
	}
	return fmt.Sprint(s.value.Interface())
}

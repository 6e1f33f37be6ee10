package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// raiseException is how a template refuses a conversation.
func raiseException(_ *exec.Evaluator, params *exec.VarArgs) (string, error) {
	return "", fmt.Errorf("it refuses the conversation: %s", params.First().String())
}

// today is the date that templates print: always the one at which Llama 3.1's stands without a clock, so that runs repeat.
var today = time.Date(2024, time.July, 26, 0, 0, 0, 0, time.UTC)

var strftime = map[byte]string{
	'd': "02", 'm': "01", 'Y': "2006", 'y': "06", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday",
	'H': "15", 'M': "04", 'S': "05", 'I': "03", 'p': "PM", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05",
}

// strftimeNow prints today in a format of C's strftime.
func strftimeNow(_ *exec.Evaluator, params *exec.VarArgs) (string, error) {
	format := params.First().String()
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		layout, ok := strftime[format[i]]
		switch {
		case format[i] == '%':
			b.WriteByte('%')
		case format[i] == '-' && i+1 < len(format) && strftime[format[i+1]] != "":
			i++
			b.WriteString(strings.TrimLeft(today.Format(strftime[format[i]]), "0"))
		case !ok:
			return "", fmt.Errorf("strftime_now: %%%c is not supported", format[i])
		default:
			b.WriteString(today.Format(layout))
		}
	}
	return b.String(), nil
}

// items lists the keys of an object with their values, in order.
func items(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsError() || !in.IsNil() && !in.IsDict() {
		return exec.AsValue(fmt.Errorf("items: want an object, got %s", in.Val.Kind()))
	}
	list := []any{}
	for _, key := range in.Keys() {
		value, _ := in.GetItem(key.Interface())
		list = append(list, []any{key.Interface(), value.Interface()})
	}
	return exec.AsValue(list)
}

// toJSON prints a value as transformers' filter does: Python's json.dumps, keys in their order, nothing escaped that need not be.
func toJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	indent := ""
	if v, ok := params.KwArgs["indent"]; ok && v.IsInteger() {
		indent = strings.Repeat(" ", v.Integer())
	}
	var b strings.Builder
	if err := writeJSON(&b, in, indent, "\n"); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsSafeValue(b.String())
}

// writeJSON writes a value; newline is a line feed and the indentation that the value stands at, in use where indent is not empty.
func writeJSON(b *strings.Builder, v *exec.Value, indent, newline string) error {
	switch {
	case v.IsError():
		return errors.New(v.Error())
	case v.IsNil():
		b.WriteString("null")
	case v.IsString():
		writeJSONString(b, v.String())
	case v.IsBool():
		b.WriteString(strconv.FormatBool(v.Bool()))
	case v.IsNumber():
		b.WriteString(v.String())
	case v.IsDict():
		keys := v.Keys()
		return writeItems(b, "{}", len(keys), indent, newline, func(i int, inner string) error {
			writeJSONString(b, keys[i].String())
			b.WriteString(": ")
			value, _ := v.GetItem(keys[i].Interface())
			return writeJSON(b, value, indent, inner)
		})
	case v.IsList():
		return writeItems(b, "[]", v.Len(), indent, newline, func(i int, inner string) error { return writeJSON(b, v.Index(i), indent, inner) })
	default:
		return fmt.Errorf("tojson: a %s is no JSON", v.Val.Kind())
	}
	return nil
}

// writeItems writes n items between brackets, as Python does with an indentation and without.
func writeItems(b *strings.Builder, brackets string, n int, indent, newline string, item func(i int, inner string) error) error {
	b.WriteByte(brackets[0])
	inner := newline + indent
	for i := range n {
		switch {
		case indent == "" && i > 0:
			b.WriteString(", ")
		case indent != "" && i > 0:
			b.WriteString("," + inner)
		case indent != "":
			b.WriteString(inner)
		}
		if err := item(i, inner); err != nil {
			return err
		}
	}
	if indent != "" && n > 0 {
		b.WriteString(newline)
	}
	b.WriteByte(brackets[1])
	return nil
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func writeJSONString(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		switch escape, ok := jsonEscapes[r]; {
		case ok:
			b.WriteString(escape)
		case r < 0x20:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

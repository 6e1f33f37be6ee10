package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html"
	"strings"
)

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
	//go:embed page/uplot/uPlot.iife.min.js
	uplotJS string
	//go:embed page/uplot/uPlot.min.css
	uplotCSS string
	//go:embed page/uplot/LICENSE
	uplotLicence string
)

// page puts the parts together. text is JSON in which <, > and & are escaped, so nothing in it ends the element it stands in.
func page(title string, text []byte) []byte {
	style := uplotCSS + "\n" + pageCSS
	script := "/*! uPlot 1.6.32\n" + strings.ReplaceAll(uplotLicence, "*/", "") + "*/\n" + uplotJS + "\n" + pageJS
	policy := "default-src 'none'; script-src " + hash(script) + "; style-src " + hash(style) + "; img-src data:; base-uri 'none'; " +
		"form-action 'none'"
	r := strings.NewReplacer("{{title}}", html.EscapeString(title), "{{policy}}", policy, "{{style}}", style, "{{script}}", script, "{{data}}",
		string(text))
	return []byte(r.Replace(pageHTML))
}

// hash is the source expression that allows exactly this inline text.
func hash(text string) string {
	h := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
}

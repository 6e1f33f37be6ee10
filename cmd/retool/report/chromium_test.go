package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser opens a page in Chromium, offline, and collects what goes wrong in it: exceptions, console errors, breaches of the policy.
func browser(t *testing.T, page string) (ctx context.Context, wrong func() []string) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium in PATH: the page is not tried in a browser")
	}
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "retool-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // its processes write on for a moment after they were told to end
		for i := 0; os.RemoveAll(profile) != nil && i < 50; i++ {
			time.Sleep(100 * time.Millisecond)
		}
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1366, 800),
		chromedp.UserDataDir(profile), chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	var mu sync.Mutex
	var found []string
	add := func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, fmt.Sprintf(format, a...))
	}
	chromedp.ListenTarget(ctx, func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			add("exception: %v", e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			add("%s: %s", e.Entry.Level, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, "file://"+file) && !strings.HasPrefix(u, "data:") {
				add("request: %s", u)
			}
		}
	})
	if err := chromedp.Run(ctx, network.Enable(), log.Enable(), chromedp.Navigate("file://"+file),
		chromedp.WaitReady("#list", chromedp.ByQuery)); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return ctx, func() []string { mu.Lock(); defer mu.Unlock(); return found }
}

// One reader's way through a page of hostile texts: curves, filters, keys, colours, comparison.
func TestPageInChromium(t *testing.T) {
	dir := t.TempDir()
	s := small
	s.ranks = 4
	r := writeRun(t, dir, s)
	text := writeRun(t, filepath.Join(dir, "text"), shape{sft: 12, rl: 9, rollouts: 24, problems: 40, samples: 1, text: true, bits: true})
	r.Text = &text
	r.Title = hostile[0] + hostile[1]
	page := write(t, r)
	d := dataOf(t, page)
	ctx, wrong := browser(t, page)
	eval := func(js string) (v any) {
		t.Helper()
		if err := chromedp.Run(ctx, chromedp.Evaluate(js, &v)); err != nil {
			t.Fatalf("%s: %v", js, err)
		}
		return v
	}
	is := func(what, js string, want any) {
		t.Helper()
		if got := eval(js); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	press := func(key string) {
		t.Helper()
		eval(`document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "` + key + `", bubbles: true}))`)
	}
	count := func(f func(i int) bool) (n int) {
		for i := range d.Trajectories {
			if f(i) {
				n++
			}
		}
		return n
	}
	is("title", `document.querySelector("h1").textContent.includes("<img src=x") && document.querySelectorAll("img, body script").length`, 2)
	if n, _ := eval(`document.querySelectorAll(".uplot canvas").length`).(float64); n < 20 {
		t.Errorf("%v curves are drawn", n)
	}
	is("roster", `document.querySelectorAll("#roster tbody tr").length + " " + document.querySelectorAll("#ranks canvas").length`, "4 3")
	is("a metric without a chart of its own",
		`[...document.querySelectorAll("#more h3")].filter((h) => h.textContent.includes("overlong")).length`, 1)
	is("drawn once", `new Set([...document.querySelectorAll("#curves h3, #more h3, #ranks h3")].map((h) => h.textContent)).size - `+
		`document.querySelectorAll("#curves h3, #more h3, #ranks h3").length`, 0)
	is("results", `document.querySelectorAll(".results tbody tr").length`, len(r.Results))

	eval(`location.hash = "#trajectories"`)
	if err := chromedp.Run(ctx, chromedp.Poll(`!document.getElementById("viewer").hidden`, nil)); err != nil {
		t.Fatalf("%v; in the browser: %s", err, strings.Join(wrong(), "\n"))
	}
	rows := `document.querySelectorAll("#list button").length`
	is("rows", rows, len(d.Trajectories))
	for i, x := range d.Trajectories { // a token for each of the page's, in its source's colour, its text unchanged
		if i%31 != 0 {
			continue
		}
		eval(fmt.Sprintf(`document.querySelector('[data-at="%d"]').click()`, i))
		is(x.Key, `document.querySelectorAll(".tokens [data-i]").length + " " + `+
			`document.querySelectorAll(".tokens .m").length + " " + document.querySelectorAll(".call").length`,
			fmt.Sprint(len(x.T), len(x.L), len(x.Calls)))
	}
	box := func(label string) {
		eval(`[...document.querySelectorAll("#filters label")].find((l) => l.textContent.startsWith("` + label + `")).click()`)
	}
	box("error, then fixed")
	is("error, then fixed", rows, count(func(i int) bool { return d.Trajectories[i].Fixed }))
	eval(`document.querySelector("#count button").click()`)
	box("last code passed")
	is("last code passed, answer wrong", rows, count(func(i int) bool { return d.Trajectories[i].Passed }))
	eval(`document.querySelector("#count button").click()`)
	choose := func(label, value string) {
		eval(`(() => { const s = document.querySelector("select[aria-label='` + label + `']"); s.value = "` + value +
			`"; s.dispatchEvent(new Event("change")); })()`)
	}
	choose("Outcome", "correct")
	choose("Family", "gcd")
	is("outcome and family", rows, count(func(i int) bool {
		return d.Trajectories[i].Outcome == "correct" && d.Trajectories[i].Family == "gcd"
	}))
	eval(`document.querySelector("#count button").click()`)
	eval(`(() => { const s = document.querySelector("#filters input"); s.value = "<IMG SRC=X"; s.dispatchEvent(new Event("input")); })()`)
	if n, _ := eval(rows).(float64); n < 1 || int(n) >= len(d.Trajectories) {
		t.Errorf("search finds %v of %d", n, len(d.Trajectories))
	}
	eval(`document.querySelector("#count button").click()`)

	at := `document.querySelector("#list [aria-current]").dataset.at`
	eval(`document.querySelector('[data-at="0"]').click()`)
	press("j")
	press("j")
	press("k")
	is("keys", at, "1")
	press("c")
	is("log-probability", `document.querySelector(".tokens").classList.contains("prob")`, true)
	eval(`document.querySelector(".tokens .m").dispatchEvent(new MouseEvent("mousemove", {bubbles: true, clientX: 600, clientY: 400}))`)
	is("tip", `/id \d+ +position \d+/.test(document.getElementById("tip").textContent) && `+
		`document.getElementById("tip").textContent.includes("log-prob")`, true)
	for i, x := range d.Trajectories {
		if x.Phase == "rl" && x.Run == 0 && count(func(j int) bool { return d.Trajectories[j].Problem == x.Problem }) > 1 {
			eval(fmt.Sprintf(`document.querySelector('[data-at="%d"]').click()`, i))
			eval(`(() => { const s = document.querySelector(".tools select"); s.selectedIndex = 1; s.dispatchEvent(new Event("change")); })()`)
			is("comparison", `document.querySelectorAll(".pane").length`, 2)
			break
		}
	}
	theme := `document.documentElement.dataset.theme`
	before := eval(theme)
	eval(`document.getElementById("theme").click()`)
	if eval(theme) == before {
		t.Error("the theme does not change")
	}
	is("nothing ran that should not", `document.title.includes("owned") && !document.title.includes("<")`, false)
	if w := wrong(); len(w) > 0 {
		t.Errorf("in the browser: %s", strings.Join(w, "\n"))
	}
}

// Small text needs a contrast of 4.5 against what it stands on, in both themes (WCAG 2.2, 1.4.3).
func TestContrast(t *testing.T) {
	ctx, _ := browser(t, write(t, writeRun(t, t.TempDir(), shape{rl: 2, rollouts: 2, problems: 2, samples: 1})))
	const script = `(() => {
	  const probe = document.body.appendChild(document.createElement("i"));
	  const rgb = (name) => {
	    probe.style.color = "var(" + name + ")";
	    return getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
	  };
	  const light = (c) => {
	    const [r, g, b] = c.map((x) => { x /= 255; return x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
	    return .2126 * r + .7152 * g + .0722 * b;
	  };
	  const mix = (a, b, p) => a.map((x, i) => x * p + b[i] * (1 - p));
	  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((a, b) => b - a); return (x + .05) / (y + .05); };
	  const bad = [];
	  for (const theme of ["light", "dark"]) {
	    document.documentElement.dataset.theme = theme;
	    const check = (ink, ground, name) => {
	      const r = ratio(ink, ground);
	      if (r < 4.5) bad.push(theme + ": " + name + " " + r.toFixed(2));
	    };
	    for (const ink of ["--ink", "--soft", "--tool-run", "--text-run", "--third", "--fourth", "--fifth", "--good", "--bad", "--none",
	      "--prompt-ink", "--accent"])
	      for (const ground of ["--card", "--bg"]) check(rgb(ink), rgb(ground), ink + " on " + ground);
	    for (const [ink, ground] of [["--ink", "--policy"], ["--ink", "--tool"], ["--good", "--good-bg"], ["--bad", "--bad-bg"], 
	      ["--none", "--none-bg"], ["--bg", "--ink"], ["--card", "--accent"], ["--bad", "--card"]])
	      check(rgb(ink), rgb(ground), ink + " on " + ground);
	    check(rgb("--ink"), mix(rgb("--hot"), rgb("--card"), .53), "--ink on the least likely token");
	  }
	  return bad;
	})()`
	var bad []string
	if err := chromedp.Run(ctx, chromedp.Evaluate(script, &bad)); err != nil {
		t.Fatal(err)
	}
	if len(bad) > 0 {
		t.Errorf("too little contrast: %s", strings.Join(bad, ", "))
	}
}

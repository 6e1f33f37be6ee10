package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Client speaks to one hub. It is safe for concurrent use.
type Client struct {
	endpoint string // without a slash at its end
	http     *http.Client
	opt      Options
}

// Options say how a client behaves. Zero values are the defaults.
type Options struct {
	Token    string        // access token; "": none
	Parallel int           // files downloaded at a time; 0: 4
	Attempts int           // at one request, without a byte gained, before it fails; 0: 6
	Backoff  time.Duration // before the second attempt, doubled for each that follows, at most 30 s; 0: 1 s
	Stall    time.Duration // longest silence of a server before the attempt is given up; 0: 1 min

	// Progress, when set, hears how many bytes of a Fetch are in place, of how many. Calls do not overlap.
	Progress func(done, all int64)
	// Note, when set, hears a sentence about each attempt that failed and is made again. Calls do not overlap.
	Note func(string)
}

// longestWait bounds what a server may ask for by Retry-After: the windows of Hugging Face's rate limits are five minutes.
const longestWait = 5 * time.Minute

// New makes a client of the hub at an address such as https://huggingface.co.
func New(endpoint string, opt Options) (*Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("hub: endpoint %q: want an address such as https://huggingface.co", endpoint)
	}
	if opt.Parallel < 1 {
		opt.Parallel = 4
	}
	if opt.Attempts < 1 {
		opt.Attempts = 6
	}
	if opt.Backoff <= 0 {
		opt.Backoff = time.Second
	}
	if opt.Stall <= 0 {
		opt.Stall = time.Minute
	}
	var one sync.Mutex
	if note := opt.Note; note != nil {
		opt.Note = func(text string) {
			one.Lock()
			defer one.Unlock()
			note(text)
		}
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DisableCompression = true // ranges and hashes are of the file as it is
	base.MaxIdleConnsPerHost = opt.Parallel
	follow := func(_ *http.Request, via []*http.Request) error {
		if len(via) > 10 {
			return errRedirects
		}
		return nil
	}
	h := &http.Client{CheckRedirect: follow, Transport: &bearer{base: base, scheme: u.Scheme, host: u.Host, token: opt.Token}}
	return &Client{endpoint: strings.TrimRight(endpoint, "/"), http: h, opt: opt}, nil
}

var errRedirects = errors.New("more than 10 redirections in a row")

// bearer adds the token to requests for one host. The standard client would carry it on to subdomains of that host when redirected,
// and from https to http.
type bearer struct {
	base                *http.Transport
	scheme, host, token string
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	r.Header.Set("User-Agent", "retool")
	if b.token != "" && r.URL.Scheme == b.scheme && r.URL.Host == b.host {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.base.RoundTrip(r)
}

// transient is an error that another attempt may not meet.
type transient struct {
	err   error
	after time.Duration // that the server asked to wait; 0: it did not say
}

func (t *transient) Error() string { return t.err.Error() }
func (t *transient) Unwrap() error { return t.err }

// attempts calls try until it succeeds, fails for good, or fails Attempts times in a row without progress, which try reports.
func (c *Client) attempts(ctx context.Context, what string, try func() (progress bool, err error)) error {
	wait := c.opt.Backoff
	for n := 1; ; n++ {
		progress, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var t *transient
		if !errors.As(err, &t) {
			return err
		}
		if progress {
			n, wait = 1, c.opt.Backoff
		}
		if n >= c.opt.Attempts {
			return fmt.Errorf("%w (given up after %d attempts; what has arrived is kept, the same command goes on from there)", err, n)
		}
		pause := time.Duration(float64(wait) * (0.75 + rand.Float64()/2)) // several clients cut off at once do not come back at once
		if t.after > 0 {
			pause = min(t.after, longestWait)
		}
		wait = min(2*wait, 30*time.Second)
		if c.opt.Note != nil {
			c.opt.Note(fmt.Sprintf("%s: %v; trying again in %v", what, t.err, pause.Round(100*time.Millisecond)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// get makes one request. body is called with an answer of 200 or 206; it and the answer's headers have to come within Stall of one
// another's bytes.
func (c *Client) get(ctx context.Context, address string, header http.Header, body func(*http.Response, io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.opt.Stall, func() { cancel(fmt.Errorf("no byte for %v", c.opt.Stall)) })
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusPartialContent {
		return refusal(res)
	}
	err = body(res, &watched{r: res.Body, heard: func() { silence.Reset(c.opt.Stall) }})
	var cut *cutOff
	if errors.As(err, &cut) {
		return c.unreachable(ctx, cut.err)
	}
	return err
}

// watched says when bytes come, and marks errors of the connection apart from those of whoever reads.
type watched struct {
	r     io.Reader
	heard func()
}

type cutOff struct{ err error }

func (c *cutOff) Error() string { return c.err.Error() }

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.heard()
	}
	if err != nil && err != io.EOF {
		err = &cutOff{err}
	}
	return n, err
}

// unreachable is an error of the connection, without the address that the standard library repeats in it.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	host := c.endpoint
	var u *url.Error
	if errors.As(err, &u) {
		if at, e := url.Parse(u.URL); e == nil {
			host = at.Scheme + "://" + at.Host // of a redirection, it may be
		}
		err = u.Err
	}
	wrapped := fmt.Errorf("hub: %s cannot be reached: %w", host, err)
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &cert) || errors.As(err, &unknown) || errors.Is(err, errRedirects) {
		return wrapped
	}
	return &transient{err: wrapped}
}

// status is an answer that holds no content.
type status struct {
	code    int
	kind    string // the hub's own word, such as GatedRepo; "" where it has none
	message string
	host    string
}

func (s *status) Error() string {
	text := fmt.Sprintf("%s answers %d %s", s.host, s.code, http.StatusText(s.code))
	if s.message != "" {
		text += ": " + s.message
	}
	return text
}

// refusal reads what an answer other than success says.
func refusal(res *http.Response) error {
	s := &status{code: res.StatusCode, kind: res.Header.Get("X-Error-Code"), host: res.Request.URL.Host}
	s.message, _, _ = strings.Cut(strings.TrimSpace(res.Header.Get("X-Error-Message")), "\n")
	if s.code == http.StatusTooManyRequests || s.code == http.StatusRequestTimeout || s.code >= 500 {
		return &transient{err: s, after: retryAfter(res.Header, time.Now())}
	}
	return s
}

var rateLimit = regexp.MustCompile(`(?:^|;)\s*t=(\d+)`)

// retryAfter is how long a server asks to wait: Retry-After in seconds or as a date, or the seconds to the end of the window in
// RateLimit: …;t=55.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	if m := rateLimit.FindStringSubmatch(h.Get("RateLimit")); m != nil && len(m[1]) < 7 {
		n, _ := strconv.Atoi(m[1])
		return time.Duration(n) * time.Second
	}
	return 0
}

// explain turns a refusal into a sentence on the repository.
func (c *Client) explain(r Repo, err error) error {
	var s *status
	if !errors.As(err, &s) {
		return err
	}
	what := "model"
	if r.Dataset {
		what = "dataset"
	}
	var said string
	switch {
	case s.kind == "GatedRepo" || s.code == http.StatusForbidden && c.opt.Token != "":
		said = "access is gated: accept its conditions at " + r.page(c.endpoint) + " and set HF_TOKEN to a token of that account that may read it"
	case s.code == http.StatusForbidden:
		said = "access is forbidden: set HF_TOKEN to a token that may read it"
	case s.kind == "RevisionNotFound":
		said = fmt.Sprintf("there is no revision %q", r.Revision)
	case s.kind == "EntryNotFound":
		said = "a file that it lists is not there"
	case s.code == http.StatusUnauthorized && c.opt.Token != "" && s.kind != "RepoNotFound":
		said = "the token of HF_TOKEN is not accepted"
	case s.code == http.StatusUnauthorized:
		said = fmt.Sprintf("there is no such %s, or it is private: check the name, or set HF_TOKEN to a token that may read it", what)
	case s.code == http.StatusNotFound:
		said = fmt.Sprintf("there is no such %s or revision: check the name", what)
		if !r.Dataset {
			said += "; --dataset fetches a dataset"
		}
	default:
		return fmt.Errorf("hub: %v: %w", r, err)
	}
	return fmt.Errorf("hub: %v: %s (%w)", r, said, err)
}

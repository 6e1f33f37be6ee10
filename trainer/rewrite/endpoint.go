package rewrite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Endpoint is a language model behind an OpenAI-compatible chat API. It is safe for concurrent use; make it by NewEndpoint.
type Endpoint struct {
	address string
	opt     EndpointOptions
	http    *http.Client

	mu   sync.Mutex
	next time.Time // no request before
}

// EndpointOptions shape requests. Zero values of the last four are the defaults.
type EndpointOptions struct {
	Model       string
	Key         string // sent as a bearer token; "": none
	Temperature float64
	MaxTokens   int // of a reply; 0: the endpoint's own limit

	Rate     float64       // requests a minute; 0: no limit
	Timeout  time.Duration // of one request; 0: 10 min
	Attempts int           // at one row; 0: 6
	Backoff  time.Duration // before the second, doubled for each that follows, at most 1 min; 0: 1 s
}

// longestWait bounds what an endpoint may ask for by Retry-After.
const longestWait = 10 * time.Minute

// NewEndpoint makes an endpoint of an address such as http://localhost:8000/v1.
func NewEndpoint(address string, opt EndpointOptions) (*Endpoint, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("rewrite: endpoint %q: want an address such as http://localhost:8000/v1", address)
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 10 * time.Minute
	}
	if opt.Attempts < 1 {
		opt.Attempts = 6
	}
	if opt.Backoff <= 0 {
		opt.Backoff = time.Second
	}
	if u.Path = strings.TrimRight(u.Path, "/"); !strings.HasSuffix(u.Path, "/chat/completions") {
		u.Path += "/chat/completions"
	}
	// A redirection is not followed: it would carry the key, and turn the request into one without a body.
	h := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Endpoint{address: u.String(), opt: opt, http: h}, nil
}

// RefusedError is an answer that no row will change: a key, a model or an address that is wrong.
type RefusedError struct{ err error }

func (r *RefusedError) Error() string { return r.err.Error() }
func (r *RefusedError) Unwrap() error { return r.err }

// transient is a failure that another attempt may not meet.
type transient struct {
	err   error
	after time.Duration
}

func (t *transient) Error() string { return t.err.Error() }
func (t *transient) Unwrap() error { return t.err }

// Ask sends one message and returns the reply's text. Busy and broken answers are asked for again, with growing pauses, or after the
// time that the endpoint names; then nobody asks before.
func (e *Endpoint) Ask(ctx context.Context, message string) (string, error) {
	wait := e.opt.Backoff
	for n := 1; ; n++ {
		if err := e.turn(ctx); err != nil {
			return "", err
		}
		reply, err := e.once(ctx, message)
		if err == nil {
			return reply, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		var t *transient
		if !errors.As(err, &t) {
			return "", err
		}
		if n == e.opt.Attempts {
			return "", fmt.Errorf("%w (%d attempts)", err, n)
		}
		pause := wait
		if t.after > 0 {
			pause = min(t.after, longestWait)
			e.hold(pause)
		}
		wait = min(2*wait, time.Minute)
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pause):
		}
	}
}

// turn waits until the rate allows another request.
func (e *Endpoint) turn(ctx context.Context) error {
	e.mu.Lock()
	now := time.Now()
	at := now
	if e.next.After(now) {
		at = e.next
	}
	if e.opt.Rate > 0 {
		e.next = at.Add(time.Duration(float64(time.Minute) / e.opt.Rate))
	}
	e.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(at.Sub(now)):
		return nil
	}
}

// hold lets nobody ask for a while.
func (e *Endpoint) hold(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := time.Now().Add(d); at.After(e.next) {
		e.next = at
	}
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type chatRequest struct {
	Model       string        `json:"model"`
	Messages    []chatMessage `json:"messages"`
	Temperature float64       `json:"temperature"`
	MaxTokens   int           `json:"max_tokens,omitempty"`
	Stream      bool          `json:"stream"`
}

type chatReply struct {
	Choices []struct {
		Message struct {
			Content *string `json:"content"`
		} `json:"message"`
	} `json:"choices"`
	Error json.RawMessage `json:"error"`
}

// replyLimit bounds an answer.
const replyLimit = 32 << 20

// once makes one request.
func (e *Endpoint) once(ctx context.Context, message string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opt.Timeout)
	defer cancel()
	body, err := json.Marshal(chatRequest{
		Model: e.opt.Model, Messages: []chatMessage{{"user", message}}, Temperature: e.opt.Temperature, MaxTokens: e.opt.MaxTokens,
	})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.address, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if e.opt.Key != "" {
		req.Header.Set("Authorization", "Bearer "+e.opt.Key)
	}
	res, err := e.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return "", &transient{err: fmt.Errorf("%s cannot be reached: %w", req.URL.Host, err)}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, replyLimit))
	if err != nil {
		return "", &transient{err: fmt.Errorf("%s: the answer breaks off: %w", req.URL.Host, err)}
	}
	if res.StatusCode != http.StatusOK {
		return "", e.refusal(res, text)
	}
	var reply chatReply
	switch err := json.Unmarshal(text, &reply); {
	case err != nil:
		return "", &transient{err: fmt.Errorf("%s: the answer is not JSON: %w", req.URL.Host, err)}
	case len(reply.Choices) == 0 || reply.Choices[0].Message.Content == nil:
		return "", &transient{err: fmt.Errorf("%s: the answer holds no message: %.200q", req.URL.Host, text)}
	}
	return *reply.Choices[0].Message.Content, nil
}

// refusal sorts answers other than success: for another attempt, for this row alone, or for every row.
func (e *Endpoint) refusal(res *http.Response, text []byte) error {
	said := strings.TrimSpace(string(text))
	var body struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &body) == nil && body.Error.Message != "" {
		said = body.Error.Message
	}
	err := fmt.Errorf("%s answers %d %s: %.200q", res.Request.URL.Host, res.StatusCode, http.StatusText(res.StatusCode), said)
	switch c := res.StatusCode; {
	case c == http.StatusTooManyRequests || c == http.StatusRequestTimeout || c >= 500:
		return &transient{err: err, after: retryAfter(res.Header.Get("Retry-After"), time.Now())}
	case c == http.StatusBadRequest || c == http.StatusRequestEntityTooLarge || c == http.StatusUnprocessableEntity:
		return err
	}
	return &RefusedError{err}
}

// retryAfter reads the header's seconds or date; 0 where it says nothing.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && n >= 0 && n < 1e6 {
		return time.Duration(n * float64(time.Second))
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

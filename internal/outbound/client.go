package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Header names by which servers of our kind recognise each other's calls.
const (
	HeaderFrom     = "X-Leadloom-From"     // the caller's instance id
	HeaderHops     = "X-Leadloom-Hops"     // how many of our servers this change has passed
	HeaderInstance = "X-Leadloom-Instance" // on every reply of our API
)

// MaxHops is the longest chain of our servers that a call may pass.
const MaxHops = 3

// Default limits of a call.
const (
	DefaultTimeout  = 60 * time.Second
	DefaultMaxBody  = 16 << 20  // bytes after decompression
	MaxErrorBody    = 256 << 10 // the same for status 400 and above; the rest is cut
	connsPerHost    = 4
	headerTimeout   = 20 * time.Second
	connectTimeout  = 5 * time.Second
	maxHeaderBytes  = 64 << 10
	idleConnTimeout = 60 * time.Second
)

// Policy is what the operator decides about outgoing calls. The zero Policy allows public https addresses on ports
// 443 and 8443.
type Policy struct {
	Instance    string         // our instance id, sent with each call and recognised in replies
	UserAgent   string         // "Leadloom" when empty
	AllowRanges []netip.Prefix // private networks that may be reached
	AllowPorts  []int          // besides 443 and 8443
	Log         *slog.Logger   // one debug line a call, without bodies, queries or headers; nil for none
}

// Client makes guarded calls. It is safe for concurrent use; make one and share it.
type Client struct {
	policy  Policy
	http    *http.Client
	mu      sync.RWMutex
	targets []netip.AddrPort // loopback addresses that the demo may reach, over plain http
	seq     atomic.Uint64
}

// New makes a client. Close it at the end.
func New(p Policy) *Client { return newClient(p, nil) }

// newClient resolves names with the given resolver; nil is the system's.
func newClient(p Policy, names *net.Resolver) *Client {
	if p.UserAgent == "" {
		p.UserAgent = "Leadloom"
	}
	c := &Client{policy: p}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second, ControlContext: c.control, Resolver: names}
	c.http = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: connectTimeout, ResponseHeaderTimeout: headerTimeout, IdleConnTimeout: idleConnTimeout,
			MaxConnsPerHost: connsPerHost, MaxIdleConnsPerHost: connsPerHost, MaxIdleConns: 256,
			MaxResponseHeaderBytes: maxHeaderBytes, ForceAttemptHTTP2: true,
		},
	}
	return c
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// AllowTarget lets calls reach one loopback address over plain http: the demo's own simulator.
func (c *Client) AllowTarget(ap netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ap = netip.AddrPortFrom(plainAddress(ap.Addr()), ap.Port())
	if !slices.Contains(c.targets, ap) {
		c.targets = append(c.targets, ap)
	}
}

func (c *Client) targetAllowed(ap netip.AddrPort) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Contains(c.targets, ap)
}

// control runs after name resolution and before each connect, so that a name which resolves to something else the
// second time is judged by what is really dialled.
func (c *Client) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !c.addressAllowed(ap) {
		return errAddress
	}
	return nil
}

// Request is one call. Only Method and URL are required.
type Request struct {
	Method  string
	URL     string
	Route   string      // the path with placeholders, for logs: "/leads/{external_id}"
	Header  http.Header // never a secret in the URL: credentials go here
	Body    []byte
	Timeout time.Duration // of the whole call; DefaultTimeout when 0
	MaxBody int64         // of the reply; DefaultMaxBody when 0
	Hops    int           // of our servers behind this change; 0 when it began here
	ID      string        // X-Request-Id; made when empty
}

// Response is a reply read to its end. 3xx replies are returned, never followed. Bodies of status 400 and above are
// cut at MaxErrorBody.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Peer   string // the instance id of another server of our kind, if it is one
	Took   time.Duration
}

// Do makes the call. Every error is an *Error; its Sent says whether the request may have been acted upon.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	u, err := c.CheckURL(r.URL)
	if err != nil {
		return nil, err
	}
	if r.Hops >= MaxHops {
		return nil, &Error{Code: CodeSelfLoop, Message: "This change has passed too many servers of this kind: it seems to go in a ring."}
	}
	ctx, cancel := context.WithTimeout(ctx, orDefault(r.Timeout, DefaultTimeout))
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := c.build(ctx, u, &r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	out, err := c.exchange(req, orDefault(r.MaxBody, DefaultMaxBody))
	took := time.Since(start)
	if err != nil {
		err = c.explain(ctx, u, sent.Load(), err)
	} else {
		out.Took = took
		err = c.recognise(out)
	}
	c.logCall(ctx, &r, u, out, took, err)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) build(ctx context.Context, u *url.URL, r *Request) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, &Error{Code: CodeBadURL, Message: "The method or address of the call is not valid.", Cause: err}
	}
	if len(r.Body) == 0 {
		req.Body, req.ContentLength, req.GetBody = nil, 0, nil
	}
	for name, values := range r.Header {
		if name = http.CanonicalHeaderKey(name); !forbiddenHeader[name] {
			req.Header[name] = values
		}
	}
	if r.ID == "" {
		r.ID = requestID(c.seq.Add(1))
	}
	req.Header.Set("User-Agent", c.policy.UserAgent)
	req.Header.Set("X-Request-Id", r.ID)
	if c.policy.Instance != "" {
		req.Header.Set(HeaderFrom, c.policy.Instance)
		req.Header.Set(HeaderHops, strconv.Itoa(r.Hops+1))
	}
	return req, nil
}

// forbiddenHeader lists what a caller cannot set: framing, hop-by-hop and our own marks.
var forbiddenHeader = map[string]bool{
	"Host": true, "Content-Length": true, "Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Accept-Encoding": true,
	HeaderFrom: true, HeaderHops: true, HeaderInstance: true,
}

// HeaderAllowed reports whether a user may set a request header of that name.
func HeaderAllowed(name string) bool { return !forbiddenHeader[http.CanonicalHeaderKey(name)] }

func (c *Client) exchange(req *http.Request, maxBody int64) (*Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	cut := resp.StatusCode >= 400
	if cut {
		maxBody = min(maxBody, MaxErrorBody)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > maxBody {
		if !cut {
			return nil, errTooLarge
		}
		body = body[:maxBody]
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// recognise stops a reply that our own server gave.
func (c *Client) recognise(r *Response) error {
	id := r.Header.Get(HeaderInstance)
	if id == "" {
		return nil
	}
	if id == c.policy.Instance {
		return &Error{Code: CodeSelfLoop, Message: "The address leads back to this server itself.", Sent: true}
	}
	r.Peer = clipID(id)
	return nil
}

// clipID keeps what an instance id is made of; the header is whatever the other side sent.
func clipID(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, s[:min(len(s), 256)])
	return s[:min(len(s), 64)]
}

func (c *Client) logCall(ctx context.Context, r *Request, u *url.URL, out *Response, took time.Duration, err error) {
	if c.policy.Log == nil || !c.policy.Log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []any{"method", r.Method, "host", u.Host, "route", r.Route, "took_ms", took.Milliseconds(), "request_id", r.ID, "bytes_out", len(r.Body)}
	if out != nil {
		attrs = append(attrs, "status", out.Status, "bytes_in", len(out.Body))
	}
	var e *Error
	if errors.As(err, &e) {
		attrs = append(attrs, "error", e.Code)
	}
	c.policy.Log.DebugContext(ctx, "outgoing call", attrs...)
}

// CheckURL reads an address and judges all that can be judged without a network: scheme, user information, fragment,
// port and literal addresses. The error says what to send instead.
func (c *Client) CheckURL(raw string) (*url.URL, error) {
	bad := func(msg string) (*url.URL, error) { return nil, &Error{Code: CodeBadURL, Message: msg} }
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil || u.Host == "" || u.Opaque != "" || u.Hostname() == "" {
		return bad("This is not an address: send something like https://crm.example.com/api.")
	}
	if u.User != nil {
		return bad("The address contains a user name or password: put credentials into their own fields.")
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		return bad("The address contains a # part: leave it out.")
	}
	ap, literal := literalTarget(u)
	switch u.Scheme {
	case "https":
		if p := portOf(u); p != 443 && p != 8443 && !slices.Contains(c.policy.AllowPorts, p) && !(literal && c.targetAllowed(ap)) {
			return bad("Only the ports 443 and 8443 may be called: ask the operator to allow another one.")
		}
	case "http":
		if !literal || !c.targetAllowed(ap) {
			return bad("Only https addresses may be called: send https://…")
		}
	default:
		return bad("Only https addresses may be called: send https://…")
	}
	if literal && !c.addressAllowed(ap) {
		return nil, &Error{Code: CodeAddress, Message: addressMessage}
	}
	return u, nil
}

// literalTarget gives the address of a URL that names one literally; "localhost" counts as 127.0.0.1.
func literalTarget(u *url.URL) (netip.AddrPort, bool) {
	host := u.Hostname()
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(plainAddress(a), uint16(portOf(u))), true
}

func portOf(u *url.URL) int {
	if p, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return int(p)
	}
	if u.Port() != "" {
		return -1
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}

func orDefault[T ~int64](v, d T) T {
	if v <= 0 {
		return d
	}
	return min(v, d)
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"leadloom/internal/secret"
)

// CLI is every command with its settings. A setting is a flag (--addr), a variable (LEADLOOM_ADDR) and a key of the
// config file (addr); the flag wins over the variable, the variable over the file, the file over the default.
type CLI struct {
	Config string `help:"File of settings, one 'name = value' a line, named as the flags are." placeholder:"FILE"`

	Demo    Demo    `cmd:"" help:"Try it: demo data, a CRM simulator and a mail sink, on this machine only."`
	Serve   Serve   `cmd:"" help:"Run the server."`
	User    User    `cmd:"" help:"Create and list users, set passwords."`
	Migrate Migrate `cmd:"" help:"Show or change the version of the database schema."`
	Backup  Backup  `cmd:"" help:"Write one consistent, compressed, checksummed file, while the server runs."`
	Restore Restore `cmd:"" help:"Bring a backup back into an empty data folder or database."`
	Check   Check   `cmd:"" help:"Verify every invariant of the data; exit 1 when one fails."`
	Bench   Bench   `cmd:"" help:"Run the stress profile against a server and report per endpoint."`
	OpenAPI OpenAPI `cmd:"" name:"openapi" help:"Print the OpenAPI 3.1 document of this binary's routes."`
	Version Version `cmd:"" help:"Print the version."`
}

// Data says where the rows are.
type Data struct {
	Data        string        `help:"Folder of the database, keys and uploads." default:"data" placeholder:"DIR"`
	DatabaseURL secret.Masked `name:"database-url" help:"PostgreSQL URL (postgres://…); without it SQLite in the data folder." placeholder:"URL"`
	SecretKey   secret.Masked `name:"secret-key" help:"32 bytes in hex or base64 that seal stored secrets; without it DATA/secret.key, made at the first start." placeholder:"KEY"`
	Nodes       int           `help:"How many nodes share this PostgreSQL; sizes the connection pool." default:"1"`
}

// Validate refuses a database that cannot be spoken to and a key of the wrong size.
func (d Data) Validate() error {
	if d.DatabaseURL != "" {
		u, err := url.Parse(d.DatabaseURL.Reveal())
		if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
			return fmt.Errorf("--database-url: not a PostgreSQL URL; send postgres://user:password@host:5432/database")
		}
	}
	if strings.TrimSpace(d.Data) == "" {
		return fmt.Errorf("--data: empty; name a folder")
	}
	if d.Nodes < 1 {
		return fmt.Errorf("--nodes: must be 1 or more")
	}
	if d.SecretKey != "" {
		if _, err := secret.ParseMaster(d.SecretKey); err != nil {
			return fmt.Errorf("--secret-key: %w", err)
		}
	}
	return nil
}

// Log says how the program speaks.
type Log struct {
	LogLevel  string `help:"How much is logged: debug, info, warn or error." default:"info" enum:"debug,info,warn,error"`
	LogFormat string `help:"Form of a log line: json or text." default:"json" enum:"json,text"`
}

// Serve is the production server.
type Serve struct {
	Data `embed:""`
	Log  `embed:""`

	Addr            string        `help:"Address to listen on." default:":8080" placeholder:"HOST:PORT"`
	MetricsAddr     string        `help:"Separate address for /metrics; without it the main one serves it." placeholder:"HOST:PORT"`
	PublicURL       string        `name:"public-url" help:"How people reach the server from outside, for links in mails and the detection of a connection that points at itself." placeholder:"URL"`
	TrustedProxies  []string      `help:"Addresses or networks whose X-Forwarded-For is believed." placeholder:"CIDR,…"`
	AllowRanges     []string      `help:"Private networks that workflows and connections may call." placeholder:"CIDR,…"`
	AllowPorts      []int         `help:"Ports they may call besides 443 and 8443." placeholder:"PORT,…"`
	ShutdownTimeout time.Duration `help:"How long requests and jobs may finish after SIGTERM." default:"30s"`

	SMTP SMTP `embed:"" prefix:"smtp-"`
}

// SMTP is the server that mail is handed to.
type SMTP struct {
	Host     string        `help:"SMTP server; without it mail waits until one is set." placeholder:"HOST"`
	Port     int           `help:"Port of the SMTP server." default:"587"`
	TLS      string        `help:"starttls, tls (from the first byte) or none." default:"starttls" enum:"starttls,tls,none"`
	Username string        `help:"User name for SMTP authentication." placeholder:"NAME"`
	Password secret.Masked `help:"Password for SMTP authentication." placeholder:"SECRET"`
	From     string        `help:"Sender of mails that name none." placeholder:"ADDRESS"`
}

// Validate refuses addresses that cannot be listened on.
func (s Serve) Validate() error {
	if err := s.Data.Validate(); err != nil {
		return err
	}
	if err := listenAddress("--addr", s.Addr); err != nil {
		return err
	}
	if s.MetricsAddr != "" {
		if err := listenAddress("--metrics-addr", s.MetricsAddr); err != nil {
			return err
		}
	}
	if s.PublicURL != "" {
		if err := webAddress("--public-url", s.PublicURL); err != nil {
			return err
		}
	}
	for _, p := range s.TrustedProxies {
		if _, err := parseNetwork(p); err != nil {
			return fmt.Errorf("--trusted-proxies: %q is no address and no network such as 10.0.0.0/8", p)
		}
	}
	for _, p := range s.AllowRanges {
		if _, err := parseNetwork(p); err != nil {
			return fmt.Errorf("--allow-ranges: %q is no address and no network such as 10.0.0.0/8", p)
		}
	}
	if s.ShutdownTimeout <= 0 {
		return fmt.Errorf("--shutdown-timeout: must be above zero, such as 30s")
	}
	if s.SMTP.Host != "" && (s.SMTP.Port < 1 || s.SMTP.Port > 65535) {
		return fmt.Errorf("--smtp-port: must be 1 to 65535")
	}
	return nil
}

// Demo is the server with demo data. Its terminal is for its one line; --log-level info shows each request.
type Demo struct {
	LogLevel  string `help:"How much is logged: debug, info, warn or error." default:"warn" enum:"debug,info,warn,error"`
	LogFormat string `help:"Form of a log line: json or text." default:"text" enum:"json,text"`

	Addr string `help:"Loopback address to listen on." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Data string `help:"Folder to keep the demo in; without it a temporary one that is removed at the end." placeholder:"DIR"`

	AllowTargets []string `help:"Loopback addresses that workflows and connections may call besides the demo's own CRM: your receiver, to try it." placeholder:"HOST:PORT,…"`
}

// Targets are AllowTargets as addresses.
func (d Demo) Targets() ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, t := range d.AllowTargets {
		a, err := netip.ParseAddrPort(t)
		if err != nil || !a.Addr().IsLoopback() {
			return nil, fmt.Errorf("--allow-targets: %q is no loopback address with a port, such as 127.0.0.1:9000", t)
		}
		out = append(out, a)
	}
	return out, nil
}

// Validate refuses an address that others can reach: the demo's password is known to everybody.
func (d Demo) Validate() error {
	if err := listenAddress("--addr", d.Addr); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(d.Addr)
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--addr: the demo listens on this machine only, because everybody knows its password; send 127.0.0.1:8080")
	}
	if _, err := d.Targets(); err != nil {
		return err
	}
	return nil
}

// User manages the people of an installation from its own machine.
type User struct {
	Create UserCreate `cmd:"" help:"Create a user."`
	Passwd UserPasswd `cmd:"" help:"Set a user's password."`
	List   UserList   `cmd:"" help:"List users."`
}

// UserCreate names a new user; the password comes on standard input.
type UserCreate struct {
	Data          `embed:""`
	Tenant        string `help:"Tenant of the user." default:"default"`
	Username      string `help:"Name to log in with." required:"" placeholder:"NAME"`
	Email         string `help:"E-mail address, which logs in too." placeholder:"ADDRESS"`
	Role          string `help:"admin, manager, salesperson, analyst or guest." default:"admin" enum:"admin,manager,salesperson,analyst,guest,viewer"`
	PasswordStdin bool   `help:"Read the password from standard input (the only way to give it)."`
}

// UserPasswd names the user whose password is set from standard input.
type UserPasswd struct {
	Data          `embed:""`
	Tenant        string `help:"Tenant of the user." default:"default"`
	Username      string `help:"Name of the user." required:"" placeholder:"NAME"`
	PasswordStdin bool   `help:"Read the password from standard input (the only way to give it)."`
}

// UserList names the tenant whose users are listed.
type UserList struct {
	Data   `embed:""`
	Tenant string `help:"Tenant of the users." default:"default"`
}

// Migrate changes the schema.
type Migrate struct {
	Status MigrateStatus `cmd:"" help:"Show applied and pending migrations."`
	Up     MigrateUp     `cmd:"" help:"Apply what is pending."`
	Down   MigrateDown   `cmd:"" help:"Take back the newest migration."`
}

// MigrateStatus shows which migrations are applied.
type MigrateStatus struct {
	Data `embed:""`
}

// MigrateUp applies what is pending.
type MigrateUp struct {
	Data `embed:""`
}

// MigrateDown takes back the newest migrations.
type MigrateDown struct {
	Data  `embed:""`
	Steps int  `help:"How many migrations." default:"1"`
	Force bool `help:"Say yes to losing the rows of the tables that go."`
}

// Backup names the file that is written.
type Backup struct {
	Data       `embed:""`
	Passphrase secret.Masked `help:"Wraps the secret key, so that the backup alone can be restored; without it the key is left out." placeholder:"TEXT"`
	File       string        `arg:"" help:"File to write; must not exist."`
}

// Restore names the file that is read.
type Restore struct {
	Data       `embed:""`
	Passphrase secret.Masked `help:"The passphrase the backup was made with." placeholder:"TEXT"`
	File       string        `arg:"" help:"Backup to read."`
}

// Check names the data to verify.
type Check struct {
	Data `embed:""`
	JSON bool `name:"json" help:"Print the result as JSON."`
}

// Bench is the stress profile against a running server.
type Bench struct {
	URL      string        `name:"url" help:"Server to drive; without it a demo is started for the run." placeholder:"URL"`
	CRMURL   string        `name:"crm-url" help:"What the profile's CRM configuration points at; without it the server itself, as old clients do." placeholder:"URL"`
	Users    int           `help:"How many users at once." default:"50"`
	For      time.Duration `help:"How long, from when all users have logged in." default:"60s"`
	Rate     float64       `help:"Open loop: so many requests a second arrive, whatever the replies do; 0 lets each user ask, wait and pause."`
	Sessions int           `help:"Logins that the users share; 0 for one each."`
	Idle     int           `help:"Hold so many idle connections meanwhile."`
	Silent   int           `help:"Hold so many connections that never send a byte meanwhile."`
	Flood    int           `help:"Run twice, the second time beside so many connections that do nothing but log in, with right and wrong passwords; makes users for it."`
	Username string        `help:"User to log in as." default:"admin"`
	Password secret.Masked `help:"Password; the demo's when not given." default:"admin123"`
	Ramp     time.Duration `help:"Time over which the users arrive; 0 measures how fast the server can log them in and prints what follows from it."`
	Seed     uint64        `help:"Seed of the choices; 0 takes a new one and prints it."`
	JSON     string        `name:"json" help:"Write the figures as JSON." placeholder:"FILE"`
	HTML     string        `name:"html" help:"Write a readable report." placeholder:"FILE"`
	MaxP99   time.Duration `name:"max-p99" help:"Fail when the response time's p99 of all requests but logins is above."`
	MaxRatio float64       `name:"max-ratio" help:"Fail when the p99 beside the flood is more than so many times that without it."`
}

// Validate refuses a run that measures nothing.
func (b Bench) Validate() error {
	switch {
	case b.Users < 1 || b.Users > 50_000:
		return fmt.Errorf("--users: must be 1 to 50000")
	case b.For <= 0:
		return fmt.Errorf("--for: must be above zero, such as 60s")
	case b.Ramp < 0:
		return fmt.Errorf("--ramp: must not be negative")
	case b.Rate < 0 || b.Rate > 1e6:
		return fmt.Errorf("--rate: must be 0 to 1000000 requests a second")
	case b.Sessions < 0:
		return fmt.Errorf("--sessions: must not be negative")
	case b.Idle < 0 || b.Silent < 0 || b.Idle+b.Silent > 50_000:
		return fmt.Errorf("--idle, --silent: together 0 to 50000")
	case b.Flood < 0 || b.Flood > 10_000:
		return fmt.Errorf("--flood: must be 0 to 10000")
	case b.URL != "":
		return webAddress("--url", b.URL)
	}
	return nil
}

// OpenAPI prints the document.
type OpenAPI struct{}

// Version prints the version.
type Version struct{}

func listenAddress(name, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %q is no address; send host:port, such as 127.0.0.1:8080", name, addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%s: %q is no port; send 1 to 65535", name, port)
	}
	return nil
}

func webAddress(name, s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%s: %q is no web address; send http://host:port", name, s)
	}
	return nil
}

// Networks reads addresses and networks that Validate has accepted; an address is the network of itself.
func Networks(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := parseNetwork(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// parseNetwork reads an address as the network of that one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

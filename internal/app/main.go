package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"leadloom/internal/config"
	"leadloom/internal/fault"
)

// version is set by the build: -ldflags "-X leadloom/internal/app.version=1.2.3".
var version = ""

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1 // the command ran and failed, or a check found something
	exitMisused = 2 // the settings are wrong
)

// errFound ends a command whose findings are printed already.
var errFound = errors.New("problems were found")

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Self     string // the executable that hashes passwords as a child of this process; empty: this process does
}

// Main runs the command that the arguments name and returns the exit code. SIGTERM or SIGINT ends it in good order; a
// second one ends it at once.
func Main(args, environ []string, io Streams) int {
	p, done, err := config.Parse(args, environ, io.Out)
	if err != nil {
		fmt.Fprintln(io.Err, "leadloom:", err)
		return exitMisused
	}
	if done {
		return exitOK
	}
	ctx, stop := untilSignal(io.Err)
	defer stop()
	err = run(ctx, p, io)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFailed
	}
	fmt.Fprintln(io.Err, "leadloom:", sentence(err))
	return exitFailed
}

func run(ctx context.Context, p *config.Parsed, io Streams) error {
	switch p.Command {
	case "serve":
		return serve(ctx, p.Serve, io)
	case "demo":
		return demo(ctx, p.Demo, io)
	case "user create":
		return userCreate(ctx, p.User.Create, io)
	case "user passwd":
		return userPasswd(ctx, p.User.Passwd, io)
	case "user list":
		return userList(ctx, p.User.List, io)
	case "migrate status":
		return migrateStatus(ctx, p.Migrate.Status.Data, io)
	case "migrate up":
		return migrateUp(ctx, p.Migrate.Up.Data, io)
	case "migrate down":
		return migrateDown(ctx, p.Migrate.Down, io)
	case "backup":
		return backup(ctx, p.Backup, io)
	case "restore":
		return restore(ctx, p.Restore, io)
	case "check":
		return check(ctx, p.Check, io)
	case "bench":
		return bench(ctx, p.Bench, io)
	case "openapi":
		return openapi(io)
	case "version":
		_, err := fmt.Fprintln(io.Out, "leadloom", Version())
		return err
	}
	return fmt.Errorf("no such command: %s", p.Command)
}

// Version is the build's version, or what the module system knows of it.
func Version() string {
	if version != "" {
		return version
	}
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

// untilSignal gives a context that ends at the first SIGTERM or SIGINT; the second one ends the process.
func untilSignal(errw io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		if _, ok := <-ch; !ok {
			return
		}
		cancel()
		if _, ok := <-ch; ok {
			fmt.Fprintln(errw, "leadloom: second signal, ending at once")
			os.Exit(130)
		}
	}()
	return ctx, func() { signal.Stop(ch); close(ch); cancel() }
}

// sentence is an error as one line for a person: a fault's own words, with its fields.
func sentence(err error) string {
	var f *fault.Error
	text := err.Error()
	if errors.As(err, &f) && f.Message != "" {
		text = f.Message
		for _, x := range f.Fields {
			text += " " + x.Path + ": " + x.Message + "."
		}
		if f.Cause != nil && f.Kind == fault.KindInternal {
			text = err.Error()
		}
	}
	return strings.Join(strings.Fields(text), " ")
}

func newLogger(l config.Log, w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	_ = level.UnmarshalText([]byte(l.LogLevel)) // the settings allow only names that exist
	o := &slog.HandlerOptions{Level: level}
	if l.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

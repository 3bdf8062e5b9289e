package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"leadloom/internal/account"
	"leadloom/internal/config"
	"leadloom/internal/fault"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

func userCreate(ctx context.Context, c config.UserCreate, s Streams) error {
	password, err := readPassword(c.PasswordStdin, s.In)
	if err != nil {
		return err
	}
	return withAccounts(ctx, c.Data, func(a *service.Accounts) error {
		u, err := a.CreateUserIn(ctx, authority, account.TenantID(c.Tenant), account.NewUser{Username: c.Username, Email: c.Email, Role: c.Role, Password: password})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.Out, "Created %s (%s) in tenant %s.\n", u.Username, u.Role, c.Tenant)
		return err
	})
}

func userPasswd(ctx context.Context, c config.UserPasswd, s Streams) error {
	password, err := readPassword(c.PasswordStdin, s.In)
	if err != nil {
		return err
	}
	return withAccounts(ctx, c.Data, func(a *service.Accounts) error {
		if err := a.SetPasswordIn(ctx, authority, account.TenantID(c.Tenant), c.Username, password); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.Out, "Set the password of %s and ended their sessions.\n", c.Username)
		return err
	})
}

// userList only reads, and so works beside a running server.
func userList(ctx context.Context, c config.UserList, s Streams) error {
	return withStore(ctx, c.Data, true, func(st *store.Store) error {
		r, tenant := st.Read(ctx), account.TenantID(c.Tenant)
		if _, err := r.Tenant(authority, tenant); errors.Is(err, store.ErrNotFound) {
			return fault.NotFound("tenant", c.Tenant)
		} else if err != nil {
			return err
		}
		w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "USERNAME\tEMAIL\tROLE\tACTIVE")
		const chunk = 500
		for after := account.UserID(""); ; {
			users, err := r.Users(account.SystemScope(tenant, "command"), after, chunk)
			if err != nil {
				return err
			}
			for _, u := range users {
				fmt.Fprintf(w, "%s\t%s\t%s\t%t\n", u.Username, u.Email, u.Role, u.Active)
				after = u.ID
			}
			if len(users) < chunk {
				return w.Flush()
			}
		}
	})
}

// withAccounts opens the installation without jobs or listeners, for one command.
func withAccounts(ctx context.Context, d config.Data, fn func(*service.Accounts) error) error {
	in, err := open(ctx, opening{data: d, log: slog.New(slog.DiscardHandler), insertOnly: true})
	if err != nil {
		return err
	}
	err = fn(in.services.Accounts)
	return errors.Join(err, in.close(ctx))
}

// readPassword takes one line from standard input: a password on the command line would be seen by everybody.
func readPassword(asked bool, in io.Reader) (string, error) {
	if !asked {
		return "", fault.Invalid("--password-stdin", "required", "give the password on standard input and say --password-stdin")
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

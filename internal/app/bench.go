package app

import (
	"context"
	"fmt"
	"io"
	"os"

	"leadloom/internal/app/stress"
	"leadloom/internal/config"
)

// bench drives a server, or a demo that it starts for the run, with the stress profile and reports.
func bench(ctx context.Context, c config.Bench, io Streams) error {
	opt := stress.Options{URL: c.URL, CRMURL: c.CRMURL, Users: c.Users, Sessions: c.Sessions, Rate: c.Rate, For: c.For, Ramp: c.Ramp,
		Username: c.Username, Password: c.Password.Reveal(), Seed: c.Seed}
	if opt.URL == "" {
		own, stop, err := startDemo(ctx, io)
		if err != nil {
			return fmt.Errorf("start a demo to drive: %w", err)
		}
		defer stop()
		opt.URL = own
	}
	if opt.Ramp == 0 {
		ramp, perLogin, err := stress.HonestRamp(ctx, opt)
		if err != nil {
			return err
		}
		opt.Ramp = ramp
		fmt.Fprintf(io.Out, "A login takes %.0f ms, nearly all of it hashing: the users arrive over %.0f s.\n", perLogin.Seconds()*1e3, ramp.Seconds())
	}
	r, err := stress.Run(ctx, opt)
	if err != nil {
		return err
	}
	if err := r.WriteTable(io.Out); err != nil {
		return err
	}
	if err := writeReport(c.JSON, r.WriteJSON); err != nil {
		return err
	}
	if err := writeReport(c.HTML, r.WriteHTML); err != nil {
		return err
	}
	switch {
	case r.Failures() > 0:
		return fmt.Errorf("%d requests failed", r.Failures())
	case c.MaxP99 > 0 && r.All.Response.P99 > c.MaxP99:
		return fmt.Errorf("p99 is %v, above the %v that --max-p99 allows", r.All.Response.P99, c.MaxP99)
	}
	return nil
}

func writeReport(path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}

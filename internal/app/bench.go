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
	url := c.URL
	if url == "" {
		own, stop, err := startDemo(ctx, io)
		if err != nil {
			return fmt.Errorf("start a demo to drive: %w", err)
		}
		defer stop()
		url = own
	}
	r, err := stress.Run(ctx, stress.Options{URL: url, CRMURL: c.CRMURL, Users: c.Users, For: c.For, Ramp: c.Ramp,
		Username: c.Username, Password: c.Password.Reveal(), Seed: c.Seed})
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
	case c.MaxP99 > 0 && r.All.P99 > c.MaxP99:
		return fmt.Errorf("p99 is %v, above the %v that --max-p99 allows", r.All.P99, c.MaxP99)
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

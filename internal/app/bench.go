package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

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
	if c.Idle+c.Silent > 0 {
		return benchIdle(ctx, c, opt, io)
	}
	r, err := stress.Run(ctx, opt)
	if err != nil {
		return err
	}
	if err := show(r, c, io); err != nil || c.Flood == 0 {
		return err
	}
	return benchFlood(ctx, c, opt, r, io)
}

// show prints a run's report and holds it against the limits.
func show(r *stress.Report, c config.Bench, io Streams) error {
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

// benchIdle runs the profile while connections are held that ask nothing.
func benchIdle(ctx context.Context, c config.Bench, opt stress.Options, io Streams) error {
	idle, err := stress.HoldIdle(ctx, stress.IdleOptions{URL: opt.URL, Open: c.Idle, Silent: c.Silent})
	if err != nil {
		return err
	}
	defer idle.Close()
	r, err := stress.Run(ctx, opt)
	if err != nil {
		return err
	}
	held := idle.Report()
	if err := errors.Join(show(r, c, io), held.WriteTable(io.Out)); err != nil {
		return err
	}
	if held.Lost > 0 {
		return fmt.Errorf("%d idle connections were lost", held.Lost)
	}
	return nil
}

const (
	floodedNames   = 20
	floodAddresses = 50
	floodVictims   = 4
)

// benchFlood runs the profile once more, beside a flood of logins that begins when the users are in, and compares.
func benchFlood(ctx context.Context, c config.Bench, opt stress.Options, calm *stress.Report, io Streams) error {
	mark := time.Now().UnixMicro()
	names := make([]string, floodedNames+floodVictims)
	for i := range names {
		names[i] = fmt.Sprintf("flood-%d-%d", mark, i)
	}
	const password = "a long password of the flood"
	if err := stress.MakeUsers(ctx, opt.URL, opt.Username, opt.Password, names, password); err != nil {
		return err
	}
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	type outcome struct {
		report *stress.FloodReport
		err    error
	}
	done := make(chan outcome, 1)
	opt.Arrived = func() {
		go func() {
			f, err := stress.Flood(flooding, stress.FloodOptions{URL: opt.URL, Connections: c.Flood, Names: names[:floodedNames], Victims: names[floodedNames:],
				Password: password, Addresses: floodAddresses, Every: 2 * time.Second, Seed: calm.Seed})
			done <- outcome{f, err}
		}()
	}
	opt.Seed = calm.Seed + 1
	r, err := stress.Run(ctx, opt)
	stop()
	if err != nil {
		return err
	}
	f := <-done
	if f.err != nil {
		return f.err
	}
	fmt.Fprintf(io.Out, "\nBeside %d connections that log in:\n", c.Flood)
	if err := errors.Join(r.WriteTable(io.Out), f.report.WriteTable(io.Out)); err != nil {
		return err
	}
	ratio := float64(r.All.P99) / max(float64(calm.All.P99), 1)
	fmt.Fprintf(io.Out, "p99 beside the flood is %.2f times that without it\n", ratio)
	switch v := f.report; {
	case r.Failures() > 0:
		return fmt.Errorf("%d requests failed beside the flood", r.Failures())
	case v.Victims.Failures > 0 || v.Victims.Count == 0:
		return fmt.Errorf("of %d logins of users who are not attacked %d failed", v.Victims.Count, v.Victims.Failures)
	case v.NoRetryAfter > 0 || v.WrongAccepted > 0 || v.Answers[500] > 0:
		return errors.New("the flood got answers that it must not get")
	case c.MaxRatio > 0 && ratio > c.MaxRatio:
		return fmt.Errorf("p99 beside the flood is %.2f times that without it, above the %.2f that --max-ratio allows", ratio, c.MaxRatio)
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

package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// wrkLeg asks for /health with wrk, a client that costs a fifth of ours; without wrk there is no such leg.
func wrkLeg() leg {
	turn := func(w *world, t *target) turner {
		return func(ctx context.Context, _ int) (measured, error) {
			before := t.cpu()
			seconds := max(int(w.o.For.Seconds()), 1)
			out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(w.o.Connections), "-d"+strconv.Itoa(seconds)+"s", "http://"+t.addr+"/health").CombinedOutput()
			m := wrkRate.FindSubmatch(out)
			if err != nil || m == nil || strings.Contains(string(out), "Non-2xx") {
				return measured{}, fmt.Errorf("wrk: %w: %s", errors.Join(err, errors.New("no good run")), out)
			}
			rate, err := strconv.ParseFloat(string(m[1]), 64)
			w.settle(ctx, t.process)
			return measured{value: rate, count: int64(rate * float64(seconds)), cpu: t.cpu() - before}, err
		}
	}
	return leg{name: "wrk", title: "Health, asked by wrk", unit: "requests/s", note: "net/http that answers a fixed document", aim: aim{value: 40_000},
		ceiling: func(ctx context.Context, w *world) (turner, error) {
			t, err := w.bareServer(ctx)
			if err != nil {
				return nil, err
			}
			return turn(w, t), nil
		},
		product: func(_ context.Context, w *world, p *product) (turner, error) { return turn(w, &p.target), nil }}
}

var wrkRate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

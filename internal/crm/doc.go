// Package crm holds the rules of keeping CRMs in step: what a connection is, how a lead becomes a record (mapping and
// transforms), what must be sent, how a refused batch is taken apart, how long to wait and what a budget allows. It
// does no SQL and knows no clock; calls go through package connector. Start with connection.go, mapping.go, plan.go.
package crm

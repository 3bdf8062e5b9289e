// Package httpapi is all HTTP: routes by noun, decoding, authorisation by the route table, one service call, encoding,
// and errors as RFC 9457 problem documents. It knows no SQL and decides nothing about the business. Start with
// server.go (the chain a request walks) and route.go (the table that feeds permission checks, OpenAPI and tests).
package httpapi

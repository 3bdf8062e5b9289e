// Package condition is the one tree of questions about a lead: field, operator, value under all, any and not. It
// parses and checks a tree, answers it over any View, and explains the answer with the verdict and the value seen at
// each leaf. Workflows, segments, routing and scoring share it. It does no I/O and knows no clock: Env carries the
// time. Start with condition.go; operators.go is the list of operators, compare.go what each means.
package condition

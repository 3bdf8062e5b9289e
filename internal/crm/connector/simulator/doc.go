// Package simulator is a small CRM that implements the generic contract on a port of its own: for the demo, where a
// page shows what has arrived, and for tests, where faults can be injected. It refuses nonsense as a real service
// would, keeps its records in an append-only journal when it is given one, and has its own clock. Start with
// simulator.go; faults.go lists what can go wrong.
package simulator

// Package archtest holds the rules of the house as failing tests: which package
// may import which, who may touch the system or the clock, that everything
// exported is documented, and that direct dependencies are listed with their
// licence and reason. It has no code of its own.
package archtest

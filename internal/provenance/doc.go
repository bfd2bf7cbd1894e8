// Package provenance joins events into a graph of cited facts: who started,
// wrote, loaded, registered or connected to what. Nodes are identities that
// hold for good; every edge cites the records that show it and says why its two
// ends belong together.
//
// The graph is a function of the set of events: feeding them in another order,
// twice, or in other batches gives the same graph. Time is read from the
// events; the package knows no clock, no network and no file system.
package provenance

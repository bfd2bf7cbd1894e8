// Package analysis holds what a running analysis knows: what the joins keep of the
// records, the state of the correlations, the detections found so far, and the
// incidents made of them. `ashiato scan` is one with a single Update at the end;
// a program that follows a stream asks for one whenever it likes.
//
// Add takes batches of normalised events, from any number of goroutines, in any
// order and as often as they come. Update returns the incidents as they are by
// now, which of them are new or differ from those of the update before, and what
// became of that update's. Snapshot and Restore carry all of it over to another
// process.
//
// # Guarantees
//
// The incidents of an Update are a function of the set of events added by then,
// of the rules and of the pins: how often Update was asked before, in what batches
// and in what order events came, and whether the analysis was written down and
// read again in between, change nothing. They are those that one graph of all
// records would give (the tests hold it), as long as no limit of world.Limits on
// all hosts together is exceeded. No clock is read.
//
// # Work
//
// Hosts are analysed in groups that share nothing an incident could depend on
// (provenance.Neighbours). An Update looks at the hosts that got events, makes the
// graphs of the groups that these are in anew, if there is anything in them to
// tell of, and leaves the incidents of the others as they were, but for the term
// of their score that counts on how many hosts a rule held. A group is made anew,
// too, if an answer it was given about other hosts would be another one now: whose
// an address is, which host goes by a name, which programs are hubs.
//
// # Bounds
//
// Records are held to world.Limits, what waits in correlations to
// correlation.Limits, detections to Options.Detections bytes: beyond it the less
// severe are left out, of equals the later ones, and counted. Which ones is a
// function of the set of detections.
package analysis

// Package evaluation measures how well detections are joined into incidents:
// with purity and root-cause accuracy beside the reduction, and against simpler
// ways to join, on the same events.
//
// A Case is a set of events whose truth is known: a scenario's own, two scenarios
// put on one host, or recordings of which it is only known which came from which.
// Measure runs the analysis and the baselines on it and counts; Sum adds cases
// up. What is counted is defined at the fields of Score; docs/benchmarks/correlation.md
// shows the last figures.
//
// Truth is used for counting only. The analysis gets the same normalised events
// as in a scan.
package evaluation

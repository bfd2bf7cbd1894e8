// Package report tells a scan's result: as one self-contained HTML file that
// opens offline and in which every arrow of the diagram leads to the raw records
// behind it, and as one JSON document (or JSON lines) for machines.
//
// Fill a Document and call HTML, JSON or NDJSON. The output is a function of the
// Document alone. The HTML holds no script, makes no request and carries a
// Content-Security-Policy that allows nothing but its own style sheet; telemetry
// in it is inert, shown with marks for misleading characters, and copies as
// recorded. The JSON keeps every code unit: a lone surrogate is written as a
// \u escape. Its shape is docs/formats/scan.schema.json.
package report

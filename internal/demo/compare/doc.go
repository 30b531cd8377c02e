// Package compare reads every row of every table on several servers and says
// where they differ.
//
// It promises to look at the rows themselves, with nothing but SELECT ... ORDER
// BY, so that it shares no code and no assumption with what heals them: rows
// are streamed from all servers side by side, and no server's answer is trusted
// to be a summary.
package compare

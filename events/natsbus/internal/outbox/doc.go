// Package outbox is a durable first-in first-out queue of messages on the local
// disk, from which a message goes only when it is acknowledged.
//
// It promises: what Append took without an error is handed out again, in the
// order of Append, until Ack; also by the next process that opens the
// directory, however this one ended. After a loss of power that holds for what
// the last fsync covered; every Append sets one off, and one fsync covers all
// Appends that came while the one before it ran. An unreadable end of a file,
// as a crash leaves it, is cut off. The disk space is bounded: when it is used
// up the oldest messages stay and new ones are refused.
//
// The files are segments, named by a number that rises. A segment is a run of
// frames, each the length and the CRC-32C of a body and the body: a message, or
// the note that all messages up to a number are acknowledged. A segment is
// deleted when all its messages are acknowledged, and the last one is emptied
// when nothing is left, which is the ordinary state.
//
// It must never import anything of this module, and knows nothing of NATS.
package outbox

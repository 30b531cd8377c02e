package events

// Publisher takes events off the hands of whoever has one. Publish never waits
// for a broker: it returns an error only when the event could not even be kept
// for later.
type Publisher interface {
	Publish(e Event) error
}

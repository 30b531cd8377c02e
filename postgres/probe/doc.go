// Package probe asks one PostgreSQL server whether it lives, as detector.Prober
// wants it asked.
//
// It promises: one connection per session and none besides, not even a cancel
// request, because a server that hangs must not be given more to do; a session
// whose server goes away is noticed while it is idle; and every error becomes
// one of the detector's conditions by the tables in classify.go.
//
// It must import nothing of this module but the detector's and topology's types.
package probe

package native

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pglogrepl"

	"healer/postgres"
)

// askWho connects as the subscription does and asks the server there who it
// is. The subscription's role may replicate; nothing else is needed.
func askWho(ctx context.Context, conninfo string) (who, error) {
	conn, err := postgres.Dial(ctx, conninfo)
	if err != nil {
		return who{}, err
	}
	defer postgres.Hangup(conn)
	id, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return who{}, postgres.Wrap("", err)
	}
	system, err := strconv.ParseUint(id.SystemID, 10, 64)
	if err != nil {
		return who{}, fmt.Errorf("system identifier: %w", err)
	}
	results, err := conn.Exec(ctx, "SELECT "+started).ReadAll()
	if err != nil {
		return who{}, postgres.Wrap("", err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return who{}, fmt.Errorf("start time: no answer")
	}
	at, err := strconv.ParseInt(string(results[0].Rows[0][0]), 10, 64)
	if err != nil {
		return who{}, fmt.Errorf("start time: %w", err)
	}
	return who{SystemID: system, StartedAt: at, Database: id.DBName}, nil
}

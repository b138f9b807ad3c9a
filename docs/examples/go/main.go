// SPDX-License-Identifier: ISC
// An order and its events in one transaction, with database/sql. The server is that of PGHOST, PGUSER and so on.
// The driver is pgx; lib/pq works with the same code.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "github.com/lib/pq"              // driver "postgres"
)

const insertEvent = `INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
	VALUES ($1, $2, $3, $4) RETURNING event_id`

// publish adds an event to the transaction and returns its event_id.
func publish(ctx context.Context, tx *sql.Tx, order, kind string, payload any) (id string, err error) {
	value, err := json.Marshal(payload)
	if err == nil {
		err = tx.QueryRowContext(ctx, insertEvent, "order", order, kind, string(value)).Scan(&id)
	}
	return id, err
}

// place: the order and its events are there together, or not at all.
func place(ctx context.Context, tx *sql.Tx, order string, items ...string) error {
	if _, err := tx.ExecContext(ctx, `INSERT INTO orders (id, state) VALUES ($1, 'placed')`, order); err != nil {
		return err
	}
	if _, err := publish(ctx, tx, order, "OrderPlaced", map[string]int{"items": len(items)}); err != nil {
		return err
	}
	for _, item := range items {
		if _, err := publish(ctx, tx, order, "ItemReserved", map[string]string{"item": item}); err != nil {
			return err
		}
	}
	return nil
}

// inTransaction commits what do did, or rolls it back if do fails.
func inTransaction(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func main() {
	ctx, driver := context.Background(), "pgx"
	if len(os.Args) > 1 {
		driver = os.Args[1]
	}
	db, err := sql.Open(driver, "")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	err = inTransaction(ctx, db, func(tx *sql.Tx) error { return place(ctx, tx, "o-1", "apple", "pear") })
	if err != nil {
		log.Fatal(err)
	}
	err = inTransaction(ctx, db, func(tx *sql.Tx) error {
		if err := place(ctx, tx, "o-2", "plum"); err != nil {
			return err
		}
		return errors.New("the card was refused")
	})
	fmt.Println("rolled back:", err)
}

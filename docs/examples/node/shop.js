// SPDX-License-Identifier: ISC
// An order and its events in one transaction, with pg. The server is that of PGHOST, PGUSER and so on.
const { Pool } = require("pg");

/** Runs work(client) in a transaction: commits what it did, or rolls it back if it throws. */
async function inTransaction(pool, work) {
  const client = await pool.connect();
  const lost = () => {}; // the next query fails and tells it; without a listener Node would end the process
  client.on("error", lost);
  try {
    await client.query("BEGIN");
    const result = await work(client);
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {}); // without a connection there is nothing to roll back
    throw error;
  } finally {
    client.off("error", lost);
    client.release();
  }
}

/** Adds an event to the transaction; its event_id. */
async function publish(client, orderId, type, payload) {
  const { rows } = await client.query(
    `INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
     VALUES ('order', $1, $2, $3) RETURNING event_id`,
    [orderId, type, JSON.stringify(payload)],
  );
  return rows[0].event_id;
}

/** The order and its events are there together, or not at all. */
async function place(client, orderId, items) {
  await client.query("INSERT INTO orders (id, state) VALUES ($1, 'placed')", [orderId]);
  await publish(client, orderId, "OrderPlaced", { items: items.length });
  for (const item of items) {
    await publish(client, orderId, "ItemReserved", { item });
  }
}

async function main() {
  const pool = new Pool();
  pool.on("error", (error) => console.log(`an idle connection is lost: ${error.message}`));
  await inTransaction(pool, (client) => place(client, "o-1", ["apple", "pear"]));
  try {
    await inTransaction(pool, async (client) => {
      await place(client, "o-2", ["plum"]);
      throw new Error("the card was refused");
    });
  } catch (error) {
    console.log(`rolled back: ${error.message}`);
  }
  await pool.end();
}

main();

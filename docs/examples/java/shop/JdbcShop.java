// SPDX-License-Identifier: ISC
package shop;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.List;
import java.util.UUID;

/** An order and its events in one transaction, with JDBC. */
public class JdbcShop {
    private static final String INSERT =
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
            + " VALUES ('order', ?, ?, ?::jsonb)";

    /** Adds an event to the transaction; its event_id. The columns are named: RETURN_GENERATED_KEYS asks for all. */
    static UUID publish(Connection db, String order, String type, String payload) throws SQLException {
        try (PreparedStatement insert = db.prepareStatement(INSERT, new String[] {"event_id"})) {
            insert.setString(1, order);
            insert.setString(2, type);
            insert.setString(3, payload);
            insert.executeUpdate();
            try (ResultSet keys = insert.getGeneratedKeys()) {
                keys.next();
                return keys.getObject(1, UUID.class);
            }
        }
    }

    /** Many events in one batch. */
    static void reserve(Connection db, String order, List<String> items) throws SQLException {
        try (PreparedStatement insert = db.prepareStatement(INSERT)) {
            for (String item : items) {
                insert.setString(1, order);
                insert.setString(2, "ItemReserved");
                insert.setString(3, "{\"item\": \"%s\"}".formatted(item));
                insert.addBatch();
            }
            insert.executeBatch();
        }
    }

    static void place(Connection db, String order, List<String> items) throws SQLException {
        try (PreparedStatement insert = db.prepareStatement("INSERT INTO orders (id, state) VALUES (?, 'placed')")) {
            insert.setString(1, order);
            insert.executeUpdate();
        }
        publish(db, order, "OrderPlaced", "{\"items\": %d}".formatted(items.size()));
        reserve(db, order, items);
    }

    public static void main(String[] args) throws SQLException {
        String url = "jdbc:postgresql://%s:%s/%s".formatted(
                System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"));
        try (Connection db = DriverManager.getConnection(url, System.getenv("PGUSER"), System.getenv("PGPASSWORD"))) {
            db.setAutoCommit(false);
            place(db, "o-1", List.of("apple", "pear"));
            db.commit();
            place(db, "o-2", List.of("plum"));
            db.rollback();
            System.out.println("rolled back: the card was refused");
        }
    }
}

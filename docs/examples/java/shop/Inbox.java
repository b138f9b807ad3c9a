// SPDX-License-Identifier: ISC
package shop;

import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A consumer that applies each event once: Inbox JDBC_URL BOOTSTRAP_SERVERS GROUP TOPIC. Tables: inbox.sql. */
public class Inbox {
    private final Connection db;

    Inbox(Connection db) {
        this.db = db;
    }

    /** In one transaction: notes the id, and applies the event unless the id was there. */
    void process(ConsumerRecord<byte[], byte[]> record) throws SQLException {
        try {
            UUID id = UUID.fromString(text(header(record, "id")));
            if (update("INSERT INTO inbox (event_id) VALUES (?) ON CONFLICT DO NOTHING", id) == 1) {
                apply(text(header(record, "type")), text(record.key()));
            }
        } catch (IllegalArgumentException | SQLException error) {
            db.rollback();
            if (error instanceof SQLException sql && !isPoison(sql)) {
                throw error; // to try again may help
            }
            keep(record, error);
        }
        db.commit();
    }

    /** Class 22: PostgreSQL cannot take the data, such as a text with a zero byte. */
    private static boolean isPoison(SQLException error) {
        return error.getSQLState() != null && error.getSQLState().startsWith("22");
    }

    /** Keeps a record that cannot be processed, for a person to look at. */
    private void keep(ConsumerRecord<byte[], byte[]> record, Exception error) throws SQLException {
        update("INSERT INTO inbox_failed (topic, partition, position, event_id, key, value, error)"
               + " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
               record.topic(), record.partition(), record.offset(), header(record, "id"), record.key(), record.value(),
               error.toString().replace('\0', '?'));
    }

    /** What the event means here. Types that are not known are left alone: producers may add some. */
    private void apply(String type, String order) throws SQLException {
        switch (type) {
        case "OrderPlaced" -> update("INSERT INTO shipments (order_id) VALUES (?) ON CONFLICT DO NOTHING", order);
        case "ItemReserved" -> update("UPDATE shipments SET items = items + 1 WHERE order_id = ?", order);
        default -> { }
        }
    }

    private int update(String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) {
                statement.setObject(i + 1, parameters[i]);
            }
            return statement.executeUpdate();
        }
    }

    /** The first header of this name, or null. Further ones are the producer's, and no event's identity. */
    private static byte[] header(ConsumerRecord<?, ?> record, String name) {
        Iterator<Header> headers = record.headers().headers(name).iterator();
        return headers.hasNext() ? headers.next().value() : null;
    }

    private static String text(byte[] value) {
        if (value == null) {
            throw new IllegalArgumentException("no id, type or key");
        }
        return new String(value, StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws SQLException {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", args[1], "group.id", args[2],
                "auto.offset.reset", "earliest", "enable.auto.commit", false);
        try (Connection db = DriverManager.getConnection(args[0]);
             KafkaConsumer<byte[], byte[]> consumer =
                     new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            db.setAutoCommit(false);
            Inbox inbox = new Inbox(db);
            consumer.subscribe(List.of(args[3]));
            while (true) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    inbox.process(record);
                }
                consumer.commitSync(); // only now: what was not applied is read again
            }
        }
    }
}

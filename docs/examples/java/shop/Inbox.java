package shop;

import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;

/** A consumer that applies each event once: Inbox JDBC_URL BOOTSTRAP_SERVERS GROUP TOPIC. Tables: inbox.sql. */
public class Inbox {
    private final Connection db;

    Inbox(Connection db) {
        this.db = db;
    }

    /** In one transaction: notes the id, and applies the event unless the id was there. */
    void process(ConsumerRecord<String, String> record) throws SQLException {
        try {
            UUID id = UUID.fromString(header(record, "id"));
            if (update("INSERT INTO inbox (event_id) VALUES (?) ON CONFLICT DO NOTHING", id) == 1) {
                apply(header(record, "type"), record.key());
            }
        } catch (IllegalArgumentException poison) { // to try again would not help
            db.rollback();
            keep(record, poison);
        }
        db.commit();
    }

    /** Keeps a record that cannot be processed, for a person to look at. */
    private void keep(ConsumerRecord<String, String> record, Exception error) throws SQLException {
        update("INSERT INTO inbox_failed (topic, partition, position, event_id, key, value, error)"
               + " VALUES (?, ?, ?, ?, convert_to(?, 'UTF8'), convert_to(?, 'UTF8'), ?) ON CONFLICT DO NOTHING",
               record.topic(), record.partition(), record.offset(), header(record, "id"), record.key(), record.value(),
               error.toString());
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

    private static String header(ConsumerRecord<?, ?> record, String name) {
        Header header = record.headers().lastHeader(name);
        return header == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws SQLException {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", args[1], "group.id", args[2],
                "auto.offset.reset", "earliest", "enable.auto.commit", false);
        try (Connection db = DriverManager.getConnection(args[0]);
             KafkaConsumer<String, String> consumer =
                     new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            db.setAutoCommit(false);
            Inbox inbox = new Inbox(db);
            consumer.subscribe(List.of(args[3]));
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    inbox.process(record);
                }
                consumer.commitSync(); // only now: what was not applied is read again
            }
        }
    }
}

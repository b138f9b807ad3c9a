// SPDX-License-Identifier: ISC
package shop;

import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import java.util.UUID;
import org.hibernate.annotations.ColumnTransformer;

/** As OutboxEvent, with the number that the database gives as the identity. It is read back: see hibernate.properties. */
@Entity
@Table(name = "outbox_events")
public class NumberedEvent {
    @Id
    @GeneratedValue(strategy = GenerationType.IDENTITY) // no SEQUENCE: its ids are drawn in advance
    private Long id;

    @Column(name = "event_id", nullable = false)
    private UUID eventId = UUID.randomUUID();

    @Column(name = "aggregate_type", nullable = false)
    private String aggregateType;

    @Column(name = "aggregate_id", nullable = false)
    private String aggregateId;

    @Column(name = "event_type", nullable = false)
    private String eventType;

    @Column
    @ColumnTransformer(write = "?::jsonb")
    private String payload;

    protected NumberedEvent() {
    }

    public NumberedEvent(String aggregateType, String aggregateId, String eventType, String payload) {
        this.aggregateType = aggregateType;
        this.aggregateId = aggregateId;
        this.eventType = eventType;
        this.payload = payload;
    }
}

// SPDX-License-Identifier: ISC
package shop;

import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import java.util.UUID;
import org.hibernate.annotations.ColumnTransformer;
import org.springframework.data.domain.Persistable;

/** Written and never read. The database gives the columns id and created_at, so they are no attributes. */
@Entity
@Table(name = "outbox_events")
public class OutboxEvent implements Persistable<UUID> {
    @Id
    @Column(name = "event_id")
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

    protected OutboxEvent() {
    }

    public OutboxEvent(String aggregateType, String aggregateId, String eventType, String payload) {
        this.aggregateType = aggregateType;
        this.aggregateId = aggregateId;
        this.eventType = eventType;
        this.payload = payload;
    }

    @Override
    public UUID getId() {
        return eventId;
    }

    /** For save() of Spring Data, which would look for the row otherwise. */
    @Override
    public boolean isNew() {
        return true;
    }
}

// SPDX-License-Identifier: ISC
package shop;

import jakarta.persistence.EntityManager;
import java.util.List;
import org.springframework.stereotype.Service;
import org.springframework.transaction.annotation.Transactional;

@Service
public class Orders {
    private final EntityManager orders;
    private final Outbox outbox;

    public Orders(EntityManager orders, Outbox outbox) {
        this.orders = orders;
        this.outbox = outbox;
    }

    /** The order and its events are there together, or not at all. */
    @Transactional
    public void place(String order, List<String> items, boolean paid) {
        orders.persist(new Order(order, "placed"));
        orders.flush(); // the order's row first: its lock puts the writers of one order in a row
        outbox.save(new OutboxEvent("order", order, "OrderPlaced", "{\"items\": %d}".formatted(items.size())));
        for (String item : items) {
            outbox.save(new OutboxEvent("order", order, "ItemReserved", "{\"item\": \"%s\"}".formatted(item)));
        }
        if (!paid) {
            throw new IllegalStateException("the card was refused");
        }
    }
}

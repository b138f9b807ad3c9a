// SPDX-License-Identifier: ISC
package shop;

import jakarta.persistence.EntityManager;
import jakarta.persistence.EntityManagerFactory;
import jakarta.persistence.PersistenceConfiguration;
import java.util.List;

/** An order and its events in one transaction, with Hibernate and without Spring. */
public class JpaShop {
    /** Called within a transaction: the order and its events are there together, or not at all. */
    static void place(EntityManager entities, String order, List<String> items) {
        entities.persist(new Order(order, "placed"));
        entities.flush(); // the order's row first: its lock puts the writers of one order in a row
        entities.persist(new NumberedEvent("order", order, "OrderPlaced",
                "{\"items\": %d}".formatted(items.size())));
        for (String item : items) {
            entities.persist(new NumberedEvent("order", order, "ItemReserved",
                    "{\"item\": \"%s\"}".formatted(item)));
        }
    }

    public static void main(String[] args) {
        String url = "jdbc:postgresql://%s:%s/%s".formatted(
                System.getenv("PGHOST"), System.getenv("PGPORT"), System.getenv("PGDATABASE"));
        PersistenceConfiguration shop = new PersistenceConfiguration("shop")
                .managedClass(Order.class)
                .managedClass(NumberedEvent.class)
                .property("jakarta.persistence.jdbc.url", url)
                .property("jakarta.persistence.jdbc.user", System.getenv("PGUSER"));
        try (EntityManagerFactory factory = shop.createEntityManagerFactory()) {
            factory.runInTransaction(entities -> place(entities, "o-1", List.of("apple", "pear")));
            try {
                factory.runInTransaction(entities -> {
                    place(entities, "o-2", List.of("plum"));
                    throw new IllegalStateException("the card was refused");
                });
            } catch (IllegalStateException refused) {
                System.out.println("rolled back: " + refused.getMessage());
            }
        }
    }
}

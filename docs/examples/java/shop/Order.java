// SPDX-License-Identifier: ISC
package shop;

import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.Table;

@Entity
@Table(name = "orders")
public class Order {
    @Id
    private String id;

    @Column(nullable = false)
    private String state;

    protected Order() {
    }

    public Order(String id, String state) {
        this.id = id;
        this.state = state;
    }
}

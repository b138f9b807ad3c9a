// SPDX-License-Identifier: ISC
package shop;

import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.ConfigurableApplicationContext;

/** An order and its events in one transaction, with Spring Data JPA. */
@SpringBootApplication
public class SpringShop {
    public static void main(String[] args) {
        try (ConfigurableApplicationContext context = SpringApplication.run(SpringShop.class, args)) {
            Orders orders = context.getBean(Orders.class);
            orders.place("o-1", List.of("apple", "pear"), true);
            try {
                orders.place("o-2", List.of("plum"), false);
            } catch (IllegalStateException refused) {
                System.out.println("rolled back: " + refused.getMessage());
            }
        }
    }
}

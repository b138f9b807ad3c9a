// SPDX-License-Identifier: ISC
package shop;

import java.util.UUID;
import org.springframework.data.jpa.repository.JpaRepository;

public interface Outbox extends JpaRepository<OutboxEvent, UUID> {
}

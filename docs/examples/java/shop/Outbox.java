package shop;

import org.springframework.data.jpa.repository.JpaRepository;

public interface Outbox extends JpaRepository<OutboxEvent, Long> {
}

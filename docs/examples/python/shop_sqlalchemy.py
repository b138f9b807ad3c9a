# SPDX-License-Identifier: ISC
"""An order and its events in one transaction, with SQLAlchemy. The server is that of PGHOST, PGUSER and so on."""
import uuid

from sqlalchemy import BigInteger, Identity, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]


class OutboxEvent(Base):
    """No created_at: SQLAlchemy would read it back, which outbox_writer may not. The database fills it in."""
    __tablename__ = "outbox_events"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    aggregate_type: Mapped[str]
    aggregate_id: Mapped[str]
    event_type: Mapped[str]
    payload: Mapped[dict | None] = mapped_column(JSONB(none_as_null=True))
    headers: Mapped[dict | None] = mapped_column(JSONB(none_as_null=True))


def place(session: Session, order_id: str, items: list[str]) -> None:
    """Called within a transaction: the order and its events are there together, or not at all."""
    session.add(Order(id=order_id, state="placed"))
    session.flush()  # the order's row first: its lock puts the writers of one order in a row
    session.add(OutboxEvent(aggregate_type="order", aggregate_id=order_id, event_type="OrderPlaced",
                            payload={"items": len(items)}))
    session.add_all(OutboxEvent(aggregate_type="order", aggregate_id=order_id, event_type="ItemReserved",
                                payload={"item": item}) for item in items)


def main() -> None:
    engine = create_engine("postgresql+psycopg://")
    with Session(engine) as session, session.begin():
        place(session, "o-1", ["apple", "pear"])
    try:
        with Session(engine) as session, session.begin():
            place(session, "o-2", ["plum"])
            session.flush()
            raise RuntimeError("the card was refused")
    except RuntimeError as refused:
        print(f"rolled back: {refused}")


if __name__ == "__main__":
    main()

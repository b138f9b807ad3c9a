# SPDX-License-Identifier: ISC
"""An order and its events in one transaction, with Django. The server is that of PGHOST, PGUSER and so on."""
import os
import uuid

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"], "NAME": os.environ["PGDATABASE"]}})
django.setup()

from django.db import models, transaction  # noqa: E402  (models need the settings)


class Order(models.Model):
    id = models.TextField(primary_key=True)
    state = models.TextField()

    class Meta:
        app_label = "shop"
        db_table = "orders"
        managed = False


class OutboxEvent(models.Model):
    """No created_at: with a db_default Django would read it back, which outbox_writer may not. The database fills it
    in. Not managed: `outbox-relay migrate` makes the table."""
    id = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(default=uuid.uuid4)
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    event_type = models.TextField()
    payload = models.JSONField(null=True)
    headers = models.JSONField(null=True)

    class Meta:
        app_label = "shop"
        db_table = "outbox_events"
        managed = False


@transaction.atomic
def place(order_id, items):
    """The order and its events are there together, or not at all."""
    Order.objects.create(id=order_id, state="placed")
    OutboxEvent.objects.create(aggregate_type="order", aggregate_id=order_id, event_type="OrderPlaced",
                               payload={"items": len(items)})
    OutboxEvent.objects.bulk_create(
        OutboxEvent(aggregate_type="order", aggregate_id=order_id, event_type="ItemReserved", payload={"item": item})
        for item in items)


def main():
    place("o-1", ["apple", "pear"])
    try:
        with transaction.atomic():
            place("o-2", ["plum"])
            raise RuntimeError("the card was refused")
    except RuntimeError as refused:
        print(f"rolled back: {refused}")


if __name__ == "__main__":
    main()

/* SPDX-License-Identifier: ISC */
/*
 * adopt_like.c - the outbox tables of known frameworks, once; docs/frameworks.md says the same in
 * more words, and tests/system/frameworks has the tables as each project publishes them
 */
#include "adopt_like.h"

#include "base/xalloc.h"

#include <string.h>

#define OWN_TABLE                                                                                  \
	"insert the events into an outbox of their own, in the transaction that has them, and run" \
	" outbox-relay on that"

/* clang-format off */
static const struct adopt_like frameworks[] = {
	{.name = "debezium", .title = "the table of Debezium's outbox event router",
	 .table = "outboxevent", .asks = true,
	 .columns = {NULL, "id", "aggregatetype", "aggregateid", "type", "payload", "", NULL},
	 .topic = "outbox.event.${aggregate_type}", .headers = "\"id=${event_id}\"",
	 .note = "Debezium's default topics, key and header; compare with your connector's"
		 " transforms.outbox.* before the relay starts, and stop the connector"},
	{.name = "debezium-quarkus", .title = "the outbox of Debezium's Quarkus extension",
	 .table = "outboxevent",
	 .refusal = "by default it inserts each event and deletes it in the same transaction, so no"
		    " row is ever there for a query to see",
	 .instead = "set quarkus.debezium-outbox.remove-after-insert=false and use --like debezium"
		    " --table outboxevent; or stay with Debezium, which reads the log"},
	{.name = "spring-modulith", .title = "Spring Modulith's event_publication",
	 .table = "event_publication",
	 .refusal = "it has a row for each listener and not for each event, no key, and rows for"
		    " Kafka only while Spring's own externalizer, which publishes them, is on",
	 .instead = OWN_TABLE " (by a listener with @EventListener instead of"
			      " @ApplicationModuleListener)"},
	{.name = "axon", .title = "Axon's domain event table", .table = "domainevententry",
	 .asks = true, .stays = true,
	 .columns = {"globalindex", "eventidentifier", "type", "aggregateidentifier",
		     "payloadtype", "payload", "", ""},
	 .note = "the payload is what Axon's serializer made: JSON with the JacksonSerializer"},
	{.name = "eventuate-tram", .title = "Eventuate Tram's message table",
	 .table = "eventuate.message",
	 .refusal = "the key (PARTITION_ID) and all else about a message stand inside the JSON of"
		    " column headers, and Tram's consumers expect payload and headers in one JSON"
		    " value, as Eventuate CDC writes it",
	 .instead = "stay with Eventuate CDC while Tram's consumers read the topics; for others, "
		    OWN_TABLE},
	{.name = "masstransit", .title = "MassTransit 8's OutboxMessage", .table = "\"OutboxMessage\"",
	 .columns = {"SequenceNumber", "MessageId", "", "ConversationId", "MessageType", "Body", "",
		     "SentTime"},
	 .where = "\"OutboxId\" IS NOT NULL", .topic = "masstransit",
	 .headers = "\"id=${event_id}\", \"type=${event_type}\"",
	 .note = "turn MassTransit's own delivery off (UseBusOutbox(o =>"
		 " o.DisableDeliveryService())); the value is MassTransit's envelope, the key the"
		 " conversation, and rows of OutboxState are yours to delete"},
	{.name = "wolverine", .title = "Wolverine's outgoing envelopes",
	 .table = "wolverine_outgoing_envelopes",
	 .refusal = "column body is an envelope in Wolverine's own binary format, of which no other"
		    " consumer makes sense, and there is no key",
	 .instead = "let Wolverine's Kafka transport send it, or " OWN_TABLE},
	{.name = "nservicebus", .title = "NServiceBus's outbox (SQL persistence)",
	 .table = "\"OutboxData\"",
	 .refusal = "a row has all messages of one handler in an array (column Operations), which is"
		    " emptied once NServiceBus has dispatched them itself",
	 .instead = OWN_TABLE},
	{.name = "cap", .title = "CAP's published table", .table = "cap.published",
	 .refusal = "CAP publishes each row itself as soon as it is committed, which cannot be"
		    " turned off, and column Content wraps value and headers in one JSON",
	 .instead = "let CAP's Kafka transport send it, or " OWN_TABLE},
	{.name = "rails-event-store", .title = "Rails Event Store's event_store_events",
	 .table = "event_store_events", .asks = true, .stays = true,
	 .columns = {"id", "event_id", "", "event_id", "event_type", "data", "", "created_at"},
	 .topic = "events.event_store", .key = "${event_id}",
	 .headers = "\"id=${event_id}\", \"type=${event_type}\"",
	 .note = "the stream stands in another table, so the key is the event's id, and events have"
		 " an order only within a partition: give the topic one partition if it matters"},
	{.name = "outboxer", .title = "outboxer's messages", .table = "outboxer_messages",
	 .refusal = "its rows only refer to the event (messageable_type, messageable_id) and have no"
		    " payload",
	 .instead = "adopt the table that they refer to: --adopt --table events"},
	{.name = "django-outbox-pattern", .title = "django-outbox-pattern's published",
	 .table = "published",
	 .columns = {NULL, "id", "", "id", "", "body", "headers", "added"},
	 .published = "status", .published_value = "2", .pending_value = "1",
	 .topic = "events.published", .key = "${event_id}", .headers = "\"id=${event_id}\"",
	 .note = "stop its command publish; destinations are STOMP's (\"/topic/a\") and no names of"
		 " Kafka topics, so all goes to one: change route.topic; there is no key"},
	{.name = "django-celery-outbox", .title = "django-celery-outbox's table",
	 .table = "django_celery_outbox_celeryoutbox",
	 .refusal = "its rows are calls of Celery tasks (name, args, kwargs, options) for a worker,"
		    " and no events",
	 .instead = OWN_TABLE},
	{.name = "django-jaiminho", .title = "Jaiminho's table", .table = "jaiminho_event",
	 .refusal = "its rows are calls of Python functions with pickled arguments, and no events",
	 .instead = OWN_TABLE},
	{.name = "namastack", .title = "Namastack's outbox_record", .table = "outbox_record",
	 .columns = {NULL, "id", "", NULL, NULL, "payload", "", "created_at"},
	 .published = "status", .published_value = "COMPLETED", .pending_value = "NEW",
	 .topic = "events.${event_type}",
	 .note = "stop Namastack's own processing; rows with status FAILED are left alone"},
	{.name = "gruelbox", .title = "gruelbox transaction-outbox's TXNO_OUTBOX",
	 .table = "txno_outbox",
	 .refusal = "its rows are calls of Java methods (column invocation) that its library makes"
		    " later, and no events",
	 .instead = OWN_TABLE},
};
/* clang-format on */

enum { COUNT = sizeof(frameworks) / sizeof(frameworks[0]) };

const struct adopt_like *adopt_like_find(const char *name)
{
	for (size_t i = 0; i < COUNT; i++)
		if (strcmp(frameworks[i].name, name) == 0)
			return &frameworks[i];
	return NULL;
}

char *adopt_like_names(void)
{
	char *names = xstrdup("");

	for (size_t i = 0; i < COUNT; i++)
		xappend(&names, "%s%s", i > 0 ? ", " : "", frameworks[i].name);
	return names;
}

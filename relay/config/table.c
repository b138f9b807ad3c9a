/*
 * table.c - every option of the configuration, once
 */
#include "table.h"

#include "base/shards.h"

#define AT(member)     offsetof(struct config, member)
#define NAME_MAX_BYTES 63 /* of a Postgres name */
#define SECOND	       INT64_C(1000)

static const struct option_choice ordering_choices[] = {
    {"key", ORDERING_KEY, NULL},
    {"none", ORDERING_NONE, NULL},
    {NULL, 0, NULL},
};

static const struct option_choice settle_choices[] = {
    {"delete", SETTLE_DELETE, NULL},
    {"mark", SETTLE_MARK, NULL},
    {NULL, 0, NULL},
};

static const struct option_choice on_reject_choices[] = {
    {"halt", ON_REJECT_HALT, NULL},
    {"dead-letter", ON_REJECT_DEAD_LETTER, NULL},
    {"park", ON_REJECT_PARK,
     "holding a key comes in a later release; use \"halt\" or \"dead-letter\""},
    {NULL, 0, NULL},
};

static const struct option_choice delivery_choices[] = {
    {"at-least-once", AT_LEAST_ONCE, NULL},
    {"exactly-once", EXACTLY_ONCE,
     "Kafka transactions come in a later release; use \"at-least-once\""},
    {NULL, 0, NULL},
};

static const struct option_choice level_choices[] = {
    {"error", LOG_ERROR, NULL},
    {"warning", LOG_WARNING, NULL},
    {"info", LOG_INFO, NULL},
    {"debug", LOG_DEBUG, NULL},
    {NULL, 0, NULL},
};

static const struct option_choice format_choices[] = {
    {"text", LOG_TEXT, NULL},
    {"json", LOG_JSON, NULL},
    {NULL, 0, NULL},
};

const struct option options[] = {
    {
	.path = "database.dsn",
	.type = OPTION_STRING,
	.offset = AT(database.dsn),
	.example = "host=127.0.0.1 dbname=shop user=outbox_relay",
	.min = 1,
	.max = 8192,
	.reloadable = true,
    },
    {
	.path = "outbox.table",
	.type = OPTION_STRING,
	.offset = AT(outbox.table),
	.fallback = "outbox_events",
	.min = 1,
	.max = 2 * (2 * NAME_MAX_BYTES + 2) + 1,
	.check = config_check_table,
    },
    {
	.path = "outbox.columns.id",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.id),
	.fallback = "id",
	.min = 1,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.event_id",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.event_id),
	.fallback = "event_id",
	.min = 1,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.aggregate_type",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.aggregate_type),
	.fallback = "aggregate_type",
	.min = 1,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.aggregate_id",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.aggregate_id),
	.fallback = "aggregate_id",
	.min = 1,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.event_type",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.event_type),
	.fallback = "event_type",
	.min = 1,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.payload",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.payload),
	.fallback = "payload",
	.min = 1,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.headers",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.headers),
	.fallback = "headers",
	.min = 0,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.columns.created_at",
	.type = OPTION_STRING,
	.offset = AT(outbox.columns.created_at),
	.fallback = "created_at",
	.min = 0,
	.max = NAME_MAX_BYTES,
    },
    {
	.path = "outbox.ordering",
	.type = OPTION_ENUM,
	.offset = AT(outbox.ordering),
	.fallback = "key",
	.choices = ordering_choices,
    },
    {
	.path = "outbox.settle",
	.type = OPTION_ENUM,
	.offset = AT(outbox.settle),
	.fallback = "delete",
	.choices = settle_choices,
    },
    {
	.path = "outbox.retention",
	.type = OPTION_DURATION,
	.offset = AT(outbox.retention_ms),
	.fallback = "7d",
	.min = SECOND,
	.max = SECOND * 3600 * 24 * 3650,
    },
    {
	.path = "outbox.shards",
	.type = OPTION_INT,
	.offset = AT(outbox.shards),
	.fallback = "1",
	.min = 1,
	.max = SHARDS_MAX,
    },
    {
	.path = "outbox.claim_rows",
	.type = OPTION_INT,
	.offset = AT(outbox.claim_rows),
	.fallback = "2500",
	.min = 1,
	.max = 100000,
	.reloadable = true,
    },
    {
	.path = "outbox.batch_rows",
	.type = OPTION_INT,
	.offset = AT(outbox.batch_rows),
	.fallback = "10000",
	.min = 1,
	.max = 1000000,
	.reloadable = true,
    },
    {
	.path = "outbox.batch_bytes",
	.type = OPTION_SIZE,
	.offset = AT(outbox.batch_bytes),
	.fallback = "16MiB",
	.min = 64 * 1024,
	.max = 1024 * 1024 * 1024,
	.reloadable = true,
    },
    {
	.path = "outbox.poll_interval",
	.type = OPTION_DURATION,
	.offset = AT(outbox.poll_interval_ms),
	.fallback = "1s",
	.min = 10,
	.max = 3600 * SECOND,
	.reloadable = true,
    },
    {
	.path = "outbox.sweep_interval",
	.type = OPTION_DURATION,
	.offset = AT(outbox.sweep_interval_ms),
	.fallback = "10s",
	.min = 100,
	.max = 3600 * SECOND,
	.reloadable = true,
    },
    {
	.path = "outbox.stall_timeout",
	.type = OPTION_DURATION,
	.offset = AT(outbox.stall_timeout_ms),
	.fallback = "30s",
	.min = SECOND,
	.max = 3600 * SECOND,
	.reloadable = true,
    },
    {
	.path = "outbox.session_timeout",
	.type = OPTION_DURATION,
	.offset = AT(outbox.session_timeout_ms),
	.fallback = "10s",
	.min = SECOND,
	.max = 3600 * SECOND,
    },
    {
	.path = "outbox.on_reject",
	.type = OPTION_ENUM,
	.offset = AT(outbox.on_reject),
	.fallback = "halt",
	.choices = on_reject_choices,
    },
    {
	.path = "kafka.bootstrap_servers",
	.type = OPTION_STRING,
	.offset = AT(kafka.bootstrap_servers),
	.example = "127.0.0.1:9092",
	.min = 1,
	.max = 8192,
    },
    {
	.path = "kafka.delivery",
	.type = OPTION_ENUM,
	.offset = AT(kafka.delivery),
	.fallback = "at-least-once",
	.choices = delivery_choices,
    },
    {
	.path = "kafka.ledger_topic",
	.type = OPTION_STRING,
	.offset = AT(kafka.ledger_topic),
	.fallback = "outbox-relay-ledger",
	.min = 1,
	.max = 249,
    },
    {
	.path = "kafka.embedded",
	.type = OPTION_BOOL,
	.offset = AT(kafka.embedded),
	.fallback = "false",
    },
    {
	.path = "kafka.properties",
	.type = OPTION_STRINGS,
	.offset = AT(kafka.properties),
	.fallback = "compression.codec=lz4",
	.min = 1,
	.max = 65536,
	.check = config_check_property,
    },
    {
	.path = "route.topic",
	.type = OPTION_STRING,
	.offset = AT(route.topic),
	.fallback = "events.${aggregate_type}",
	.min = 1,
	.max = 1024,
    },
    {
	.path = "route.key",
	.type = OPTION_STRING,
	.offset = AT(route.key),
	.fallback = "${aggregate_id}",
	.min = 1,
	.max = 1024,
    },
    {
	.path = "route.headers",
	.type = OPTION_STRINGS,
	.offset = AT(route.headers),
	.fallback = "id=${event_id}\ntype=${event_type}",
	.example = "id=${event_id}",
	.min = 1,
	.max = 4096,
	.check = config_check_header,
    },
    {
	.path = "http.listen",
	.type = OPTION_STRING,
	.offset = AT(http.listen),
	.fallback = "127.0.0.1:9464",
	.min = 0,
	.max = 256,
	.check = config_check_listen,
    },
    {
	.path = "log.level",
	.type = OPTION_ENUM,
	.offset = AT(log.level),
	.fallback = "info",
	.choices = level_choices,
	.reloadable = true,
    },
    {
	.path = "log.format",
	.type = OPTION_ENUM,
	.offset = AT(log.format),
	.fallback = "text",
	.choices = format_choices,
	.reloadable = true,
    },
};

const size_t option_count = sizeof(options) / sizeof(options[0]);

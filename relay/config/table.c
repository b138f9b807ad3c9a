/* SPDX-License-Identifier: ISC */
/*
 * table.c - every option of the configuration, once; and what a misspelt one may have meant
 */
#include "table.h"

#include "base/shards.h"
#include "base/xalloc.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define ROW(member, kind, at) .path = #member, .type = (kind), .offset = offsetof(struct config, at)
#define STRING(member)	      ROW(member, OPTION_STRING, member)
#define STRINGS(member)	      ROW(member, OPTION_STRINGS, member)
#define NUMBER(member)	      ROW(member, OPTION_INT, member)
#define BOOL(member)	      ROW(member, OPTION_BOOL, member)
#define SIZE(member)	      ROW(member, OPTION_SIZE, member)
#define DURATION(member)      ROW(member, OPTION_DURATION, member##_ms)
#define CHOICE(member, ...)   ROW(member, OPTION_ENUM, member), \
			      .choices = (const struct option_choice[]){__VA_ARGS__, {NULL, 0}}

#define NAME_BYTES 63 /* of a Postgres name */
#define SECOND	       INT64_C(1000)
#define HOUR	       (3600 * SECOND)

const struct option options[] = {
	{STRING(database.dsn), .example = "host=127.0.0.1 dbname=shop user=outbox_relay",
	 .min = 1, .max = 8192, .reloadable = true},
	{STRING(database.password_file), .fallback = "", .max = PATH_MAX - 1, .reloadable = true,
	 .is_path = true},
	{STRING(database.password_command), .fallback = "", .max = 8192, .reloadable = true},
	{CHOICE(database.pooler, {"none", POOLER_NONE}, {"session", POOLER_SESSION}),
	 .fallback = "none", .reloadable = true},
	{STRING(outbox.table), .fallback = "outbox_events", .min = 1,
	 .max = 2 * (2 * NAME_BYTES + 2) + 1, .check = config_check_table},
	{STRING(outbox.columns.id), .fallback = "id", .min = 1, .max = NAME_BYTES},
	{STRING(outbox.columns.event_id), .fallback = "event_id", .min = 1, .max = NAME_BYTES},
	{STRING(outbox.columns.aggregate_type), .fallback = "aggregate_type", .min = 0, .max = NAME_BYTES},
	{STRING(outbox.columns.aggregate_id), .fallback = "aggregate_id", .min = 1, .max = NAME_BYTES},
	{STRING(outbox.columns.event_type), .fallback = "event_type", .min = 0, .max = NAME_BYTES},
	{STRING(outbox.columns.payload), .fallback = "payload", .min = 1, .max = NAME_BYTES},
	{STRING(outbox.columns.headers), .fallback = "headers", .min = 0, .max = NAME_BYTES},
	{STRING(outbox.columns.created_at), .fallback = "created_at", .min = 0, .max = NAME_BYTES},
	{STRING(outbox.columns.published_at), .fallback = "published_at", .min = 1, .max = NAME_BYTES},
	{CHOICE(outbox.ordering, {"key", ORDERING_KEY}, {"none", ORDERING_NONE}),
	 .fallback = "key"},
	{CHOICE(outbox.settle,
		{"delete", SETTLE_DELETE}, {"mark", SETTLE_MARK}, {"position", SETTLE_POSITION}),
	 .fallback = "delete"},
	{STRING(outbox.published_value), .fallback = "", .max = 256},
	{STRING(outbox.pending_value), .fallback = "", .max = 256},
	{STRING(outbox.where), .fallback = "", .max = 8192, .check = config_check_where},
	{DURATION(outbox.retention), .fallback = "7d", .min = SECOND, .max = 3650 * 24 * HOUR},
	{NUMBER(outbox.partitions_ahead), .fallback = "4", .min = 1, .max = 100, .reloadable = true},
	{NUMBER(outbox.shards), .fallback = "1", .min = 1, .max = SHARDS_MAX},
	{NUMBER(outbox.claim_rows), .fallback = "2500", .min = 1, .max = 100000,
	 .reloadable = true},
	{NUMBER(outbox.batch_rows), .fallback = "10000", .min = 1, .max = 1000000,
	 .reloadable = true},
	{SIZE(outbox.batch_bytes), .fallback = "16MiB", .min = 64 * 1024,
	 .max = 1024 * 1024 * 1024, .reloadable = true},
	{DURATION(outbox.poll_interval), .fallback = "1s", .min = 10, .max = HOUR,
	 .reloadable = true},
	{DURATION(outbox.sweep_interval), .fallback = "10s", .min = 100, .max = HOUR,
	 .reloadable = true},
	{DURATION(outbox.stall_timeout), .fallback = "30s", .min = SECOND, .max = HOUR,
	 .reloadable = true},
	{DURATION(outbox.session_timeout), .fallback = "10s", .min = SECOND, .max = HOUR},
	{CHOICE(outbox.on_reject,
		{"park", ON_REJECT_PARK}, {"dead-letter", ON_REJECT_DEAD_LETTER}, {"halt", ON_REJECT_HALT}),
	 .fallback = "park", .reloadable = true},
	{CHOICE(outbox.publish_after,
		{"commit", PUBLISH_AFTER_COMMIT}, {"flush", PUBLISH_AFTER_FLUSH}, {"standby", PUBLISH_AFTER_STANDBY}),
	 .fallback = "commit"},
	{STRING(outbox.publish_standbys), .fallback = "", .max = 8192, .check = config_check_standbys},
	{STRING(kafka.bootstrap_servers), .example = "127.0.0.1:9092", .min = 1, .max = 8192},
	{CHOICE(kafka.delivery,
		{"at-least-once", DELIVERY_AT_LEAST_ONCE}, {"exactly-once", DELIVERY_EXACTLY_ONCE}),
	 .fallback = "at-least-once"},
	{STRING(kafka.ledger_topic), .fallback = "outbox-relay-ledger", .min = 1, .max = 249},
	{BOOL(kafka.embedded), .fallback = "false"},
	{STRING(kafka.sasl_password_file), .fallback = "", .max = PATH_MAX - 1, .reloadable = true,
	 .is_path = true},
	{STRING(kafka.oauthbearer_token_command), .fallback = "", .max = 8192, .reloadable = true},
	{STRINGS(kafka.properties), .fallback = "compression.codec=lz4", .min = 1, .max = 65536,
	 .check = config_check_property},
	{STRING(route.topic), .fallback = "events.${aggregate_type}", .min = 1, .max = 1024},
	{STRING(route.key), .fallback = "${aggregate_id}", .min = 1, .max = 1024},
	{STRING(route.topic_regex), .fallback = "", .max = 1024},
	{STRING(route.topic_replacement), .fallback = "", .max = 1024},
	{STRING(route.partition), .fallback = "", .max = NAME_BYTES},
	{STRING(route.timestamp), .fallback = "", .max = NAME_BYTES},
	{STRING(route.dead_letter_topic), .fallback = "", .max = 249, .reloadable = true},
	{STRINGS(route.headers), .fallback = "id=${event_id}\ntype=${event_type}",
	 .example = "id=${event_id}", .min = 1, .max = 4096, .check = config_check_header},
	{CHOICE(encode.key,
		{"text", ENCODE_PLAIN}, {"string", ENCODE_STRING}, {"json", ENCODE_JSON}, {"json-schema", ENCODE_JSON_SCHEMA}),
	 .fallback = "text"},
	{CHOICE(encode.value,
		{"bytes", ENCODE_PLAIN}, {"string", ENCODE_STRING}, {"json", ENCODE_JSON}, {"json-schema", ENCODE_JSON_SCHEMA}),
	 .fallback = "bytes"},
	{CHOICE(encode.headers,
		{"text", ENCODE_PLAIN}, {"string", ENCODE_STRING}, {"simple", ENCODE_SIMPLE}, {"json", ENCODE_JSON}, {"json-schema", ENCODE_JSON_SCHEMA}),
	 .fallback = "text"},
	{STRINGS(encode.envelope), .fallback = "", .example = "eventType=${event_type}", .min = 1,
	 .max = 4096, .check = config_check_header},
	{BOOL(encode.tombstone_on_empty), .fallback = "false"},
	{BOOL(encode.expand), .fallback = "false"},
	{CHOICE(encode.null_fields, {"drop", EXPAND_DROP}, {"keep", EXPAND_KEEP}), .fallback = "drop"},
	{CHOICE(encode.empty_arrays, {"drop", EXPAND_DROP}, {"keep", EXPAND_KEEP}),
	 .fallback = "drop"},
	{STRING(encode.schema_namespace), .fallback = "", .max = 249},
	{STRING(encode.schema_version), .fallback = "", .max = NAME_BYTES},
	{CHOICE(encode.decimal,
		{"precise", DECIMAL_PRECISE}, {"string", DECIMAL_STRING}, {"double", DECIMAL_DOUBLE}),
	 .fallback = "precise"},
	{CHOICE(encode.time,
		{"adaptive", TIME_ADAPTIVE}, {"adaptive_time_microseconds", TIME_MICROSECONDS}, {"connect", TIME_CONNECT}),
	 .fallback = "adaptive"},
	{CHOICE(encode.binary,
		{"bytes", BINARY_BYTES}, {"base64", BINARY_BASE64}, {"base64-url-safe", BINARY_BASE64_URL}, {"hex", BINARY_HEX}),
	 .fallback = "bytes"},
	{CHOICE(encode.interval, {"numeric", INTERVAL_NUMERIC}, {"string", INTERVAL_STRING}),
	 .fallback = "numeric"},
	{STRING(http.listen), .fallback = "127.0.0.1:9464", .min = 0, .max = 256,
	 .check = config_check_listen},
	{CHOICE(log.level,
		{"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}),
	 .fallback = "info", .reloadable = true},
	{CHOICE(log.format, {"text", LOG_TEXT}, {"json", LOG_JSON}), .fallback = "text",
	 .reloadable = true},
};
/* clang-format on */

const size_t option_count = sizeof(options) / sizeof(options[0]);

/* ---- what a misspelt option may have meant ---- */

enum { LEAF_MAX = 40, PATH_MAX_BYTES = 80 };

/* Levenshtein, without regard to case; a and b are shorter than LEAF_MAX. */
static size_t distance(const char *a, const char *b)
{
	size_t row[LEAF_MAX + 1];
	size_t columns = strlen(b);

	for (size_t j = 0; j <= columns; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= columns; j++) {
			bool differ =
			    tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
			size_t best = diagonal + differ;

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[columns];
}

static size_t parent_len(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot == NULL ? 0 : (size_t)(dot - path);
}

static const char *leaf_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot == NULL ? path : dot + 1;
}

/* 0 is not near; less is nearer. In the same group a slip of the hand counts, elsewhere only the
 * very name in the wrong place does. */
static size_t nearness(const char *path, const char *known)
{
	const char *leaf = leaf_of(path), *other = leaf_of(known);
	bool same_group =
	    parent_len(path) == parent_len(known) && strncmp(path, known, parent_len(path)) == 0;
	size_t steps;

	if (strlen(leaf) >= LEAF_MAX || strlen(other) >= LEAF_MAX)
		return 0;
	steps = distance(leaf, other);
	if (!same_group)
		return steps == 0 ? 2 : 0;
	return steps <= 1 + strlen(other) / 5 && steps < strlen(leaf) ? steps + (steps > 1) : 0;
}

/* Calls each(path) for every option and every group; a group comes before its options. */
static void walk(void (*each)(const char *path, void *arg), void *arg)
{
	const char *before = "";

	for (size_t i = 0; i < option_count; i++) {
		const char *path = options[i].path;

		for (const char *dot = strchr(path, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
			size_t len = (size_t)(dot - path);
			char group[PATH_MAX_BYTES];

			if (strncmp(before, path, len + 1) == 0)
				continue;
			snprintf(group, sizeof(group), "%.*s", (int)len, path);
			each(group, arg);
		}
		each(path, arg);
		before = path;
	}
}

struct search {
	const char *path;
	char *found; /* owned */
	size_t best;
};

static void consider(const char *known, void *arg)
{
	struct search *search = arg;
	size_t near = nearness(search->path, known);

	if (near == 0 || (search->best != 0 && near >= search->best))
		return;
	search->best = near;
	free(search->found);
	search->found = xstrdup(known);
}

char *config_suggest(const char *path)
{
	struct search search = {.path = path};

	walk(consider, &search);
	return search.found;
}

bool config_is_group(const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < option_count; i++) {
		if (strncmp(options[i].path, path, len) == 0 && options[i].path[len] == '.')
			return true;
	}
	return false;
}

struct members {
	const char *group;
	char *text; /* owned */
};

static void add_member(const char *path, void *arg)
{
	struct members *members = arg;
	size_t len = parent_len(path);

	if (len == strlen(members->group) && strncmp(path, members->group, len) == 0)
		xappend(&members->text, "%s%s", *members->text != '\0' ? ", " : "", leaf_of(path));
}

char *config_members(const char *group)
{
	struct members members = {group, xstrdup("")};

	walk(add_member, &members);
	return members.text;
}

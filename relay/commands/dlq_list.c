/* SPDX-License-Identifier: ISC */
/*
 * dlq_list.c - `dlq list` and `dlq show`: letters as they are
 *
 * What an event holds (payload, headers, other columns) is fetched and shown only if it was asked
 * for.
 */
#include "base/text.h"
#include "base/xalloc.h"
#include "dlq.h"
#include "dlq_text.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is above this is not fetched. A key may have as many bytes as a column can hold. */
#define SHOWN_BYTES   "67108864"
#define SHOWN_LETTERS "1000"
#define LIMIT	      "100"

#define TIME(column)                                                                               \
	"to_char(d." column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS " column

#define TIMES TIME("dead_at") ", " TIME("attempted_at") ", " TIME("copy_owed_since")

/* The page is chosen first: what is behind a letter is counted only for those that are shown. */
static const char LIST_SQL[] =
    "WITH page AS MATERIALIZED (SELECT d.number, count(*) OVER () AS total"
    "  FROM outbox_relay.dead_letters AS d WHERE d.outbox = to_regclass($1)%s"
    "  ORDER BY d.number LIMIT %s)"
    " SELECT page.total, d.number, d.id, d.event_id, left(d.key, " SHOWN_LETTERS ") AS key,"
    " left(d.topic, " SHOWN_LETTERS ") AS topic, d.reason, d.error, d.attempts, d.held_for,"
    " " TIMES ","
    " CASE WHEN head.number < d.number THEN head.id END AS waiting_behind,"
    " CASE WHEN head.number = d.number THEN (SELECT count(*) - 1"
    "  FROM outbox_relay.dead_letters AS f WHERE f.outbox = d.outbox AND f.held_for = 'key'"
    "  AND f.key_hash = d.key_hash) END AS following,"
    " (SELECT json_agg(json_build_object('action', r.action, 'role', r.role, 'requested_at',"
    "  to_char(r.requested_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))"
    "  ORDER BY r.number) FROM outbox_relay.letter_requests AS r WHERE r.letter = d.number)"
    "  AS requests%s"
    " FROM page JOIN outbox_relay.dead_letters AS d USING (number)"
    " LEFT JOIN LATERAL (SELECT h.number, h.id FROM outbox_relay.dead_letters AS h"
    "  WHERE d.held_for = 'key' AND h.outbox = d.outbox AND h.held_for = 'key'"
    "  AND h.key_hash = d.key_hash ORDER BY h.number LIMIT 1) AS head ON true"
    " ORDER BY d.number";

#define SHOW_COLUMNS                                                                               \
	", left(d.aggregate_type, " SHOWN_LETTERS ") AS aggregate_type,"                           \
	" left(d.aggregate_id, " SHOWN_LETTERS ") AS aggregate_id,"                                \
	" left(d.event_type, " SHOWN_LETTERS ") AS event_type, " TIME(                             \
	    "created_at") ","                                                                      \
			  " d.payload_type, octet_length(d.payload) AS payload_bytes"
#define PAYLOAD_COLUMNS                                                                            \
	", CASE WHEN octet_length(d.payload) <= " SHOWN_BYTES " THEN d.payload END AS payload,"    \
	" CASE WHEN octet_length(d.headers) <= " SHOWN_BYTES " THEN d.headers END AS headers,"     \
	" CASE WHEN pg_column_size(d.extra) <= " SHOWN_BYTES " THEN d.extra::text END AS extra"

static json_t *number_of(const PGresult *letters, int row, const char *column)
{
	if (pgsync_text(letters, row, column) == NULL)
		return json_null();
	return json_integer((json_int_t)pgsync_number(letters, row, column));
}

static json_t *document_of(const PGresult *letters, int row, const char *column, json_t *otherwise)
{
	const char *text = pgsync_text(letters, row, column);
	char *clean = text_clean(text ? text : "");
	json_t *document = text ? json_loads(clean, JSON_DECODE_ANY, NULL) : NULL;

	free(clean);
	if (document == NULL)
		return otherwise;
	json_decref(otherwise);
	return document;
}

static json_t *letter_of(const PGresult *letters, int row)
{
	static const char *const texts[] = {"event_id", "key",		"topic",
					    "reason",	"error",	"held_for",
					    "dead_at",	"attempted_at", "copy_owed_since"};
	static const char *const numbers[] = {"number", "id", "attempts", "waiting_behind",
					      "following"};
	const char *held = pgsync_text(letters, row, "held_for");
	json_t *letter = json_object();

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(letter, numbers[i], number_of(letters, row, numbers[i]));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		json_object_set_new(letter, texts[i],
				    json_text(pgsync_text(letters, row, texts[i])));
	json_object_set_new(letter, "parked", json_boolean(held && strcmp(held, "key") == 0));
	json_object_set_new(letter, "requests",
			    document_of(letters, row, "requests", json_array()));
	return letter;
}

/* As text where it is some, and otherwise in hex. */
static void add_payload(json_t *letter, const PGresult *letters, int row)
{
	const char *hex = pgsync_text(letters, row, "payload");
	unsigned char *bytes;
	size_t len = 0;
	bool is_text;

	json_object_set_new(letter, "payload", json_null());
	json_object_set_new(letter, "payload_encoding", json_null());
	if (hex == NULL)
		return;
	bytes = PQunescapeBytea((const unsigned char *)hex, &len);
	is_text = bytes && dlq_is_text((const char *)bytes, len);
	json_object_set_new(letter, "payload",
			    is_text ? json_stringn((const char *)bytes, len)
				    : json_string(hex + strlen("\\x")));
	json_object_set_new(letter, "payload_encoding", json_string(is_text ? "utf-8" : "hex"));
	PQfreemem(bytes);
}

static json_t *whole_letter_of(const struct dlq *dlq, const PGresult *letters, int row)
{
	static const char *const texts[] = {"aggregate_type", "aggregate_id", "event_type",
					    "created_at", "payload_type"};
	json_t *letter = letter_of(letters, row);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		json_object_set_new(letter, texts[i],
				    json_text(pgsync_text(letters, row, texts[i])));
	json_object_set_new(letter, "payload_bytes", number_of(letters, row, "payload_bytes"));
	if (!dlq->payload)
		return letter;
	add_payload(letter, letters, row);
	json_object_set_new(letter, "headers", json_text(pgsync_text(letters, row, "headers")));
	json_object_set_new(letter, "extra", document_of(letters, row, "extra", json_null()));
	return letter;
}

/* ---- in words ---- */

static const char *text_of(const json_t *letter, const char *member)
{
	const char *text = json_string_value(json_object_get(letter, member));

	return text ? text : "-";
}

static json_int_t integer_of(const json_t *letter, const char *member)
{
	return json_integer_value(json_object_get(letter, member));
}

/* Why it is there, and what it waits for; malloc'd. */
static char *state_of(const json_t *letter)
{
	const json_t *behind = json_object_get(letter, "waiting_behind");
	const json_t *requests = json_object_get(letter, "requests");
	char *state;

	if (json_is_integer(behind))
		state = xasprintf("behind %" JSON_INTEGER_FORMAT, json_integer_value(behind));
	else if (strcmp(text_of(letter, "held_for"), "topic") == 0)
		state = xstrdup("waits for its topic");
	else if (!json_is_true(json_object_get(letter, "parked")))
		state = xstrdup("dead letter");
	else if (json_is_null(json_object_get(letter, "reason")))
		state = xstrdup("goes next");
	else
		state = xstrdup("parked");
	if (integer_of(letter, "following") > 0)
		xappend(&state, ", %" JSON_INTEGER_FORMAT " behind it",
			integer_of(letter, "following"));
	for (size_t i = 0; i < json_array_size(requests); i++)
		xappend(&state, ", %s requested", text_of(json_array_get(requests, i), "action"));
	return state;
}

static void add_row(struct dlq_table *table, const json_t *letter)
{
	enum { ID = 20, NAME = 40, WHOLE = 1000 };
	char number[32], attempts[32], *state = state_of(letter);

	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, integer_of(letter, "id"));
	snprintf(attempts, sizeof(attempts), "%" JSON_INTEGER_FORMAT,
		 integer_of(letter, "attempts"));
	dlq_table_add(table, ID, number);
	dlq_table_add(table, NAME, text_of(letter, "event_id"));
	dlq_table_add(table, NAME, text_of(letter, "key"));
	dlq_table_add(table, NAME, text_of(letter, "topic"));
	dlq_table_add(table, NAME, text_of(letter, "reason"));
	dlq_table_add(table, ID, attempts);
	dlq_table_add(table, ID, text_of(letter, "dead_at"));
	dlq_table_add(table, WHOLE, state);
	dlq_table_add(table, WHOLE, text_of(letter, "error"));
	free(state);
}

static void print_table(const json_t *letters)
{
	static const char *const names[] = {"ID",	"EVENT_ID", "KEY",   "TOPIC", "REASON",
					    "ATTEMPTS", "SINCE",    "STATE", "ERROR"};
	struct dlq_table table = {.columns = sizeof(names) / sizeof(names[0])};
	char *text;

	if (json_array_size(letters) == 0)
		return;
	for (size_t i = 0; i < table.columns; i++)
		dlq_table_add(&table, strlen(names[i]), names[i]);
	for (size_t i = 0; i < json_array_size(letters); i++)
		add_row(&table, json_array_get(letters, i));
	text = dlq_table_draw(&table);
	fputs(text, stdout);
	free(text);
}

static void print_line(const char *label, const char *text)
{
	char *escaped = dlq_escape(text);

	printf("%-16s %s\n", label, escaped);
	free(escaped);
}

static void print_member(const json_t *letter, const char *label, const char *member)
{
	const json_t *value = json_object_get(letter, member);

	if (json_is_string(value))
		print_line(label, json_string_value(value));
	else if (json_is_integer(value))
		printf("%-16s %" JSON_INTEGER_FORMAT "\n", label, json_integer_value(value));
	else
		printf("%-16s -\n", label);
}

/* NULL is a tombstone, unless it was too large to be fetched. */
static void print_payload(const json_t *letter)
{
	const json_t *extra = json_object_get(letter, "extra");
	char *text;

	if (!json_is_null(json_object_get(letter, "payload")))
		print_member(letter,
			     strcmp(text_of(letter, "payload_encoding"), "hex") == 0
				 ? "payload (hex)"
				 : "payload",
			     "payload");
	else if (json_is_null(json_object_get(letter, "payload_bytes")))
		puts("payload          none (a tombstone, or see \"other columns\")");
	else
		printf("payload          too large to be shown; number %" JSON_INTEGER_FORMAT
		       " of outbox_relay.dead_letters has it\n",
		       integer_of(letter, "number"));
	print_member(letter, "headers", "headers");
	text = json_is_null(extra) ? NULL : json_dumps(extra, JSON_ENCODE_ANY);
	print_line("other columns", text ? text : "-");
	free(text);
}

static void print_letter(const json_t *letter, bool payload)
{
	static const struct {
		const char *label, *member;
	} lines[] = {
	    {"event", "id"},
	    {"event_id", "event_id"},
	    {"key", "key"},
	    {"topic", "topic"},
	    {"aggregate_type", "aggregate_type"},
	    {"aggregate_id", "aggregate_id"},
	    {"event_type", "event_type"},
	    {"created at", "created_at"},
	    {"reason", "reason"},
	    {"error", "error"},
	    {"rejected, times", "attempts"},
	    {"moved here at", "dead_at"},
	    {"maybe sent at", "attempted_at"},
	    {"copy owed since", "copy_owed_since"},
	    {"payload type", "payload_type"},
	    {"payload bytes", "payload_bytes"},
	};
	char *state = state_of(letter);

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		print_member(letter, lines[i].label, lines[i].member);
	print_line("state", state);
	free(state);
	if (payload)
		print_payload(letter);
}

static void print_letters(const struct dlq *dlq, const json_t *letters)
{
	const json_t *letter;
	size_t i;

	if (dlq->action == DLQ_LIST) {
		print_table(letters);
		return;
	}
	json_array_foreach(letters, i, letter)
	{
		if (i > 0)
			putchar('\n');
		print_letter(letter, dlq->payload);
	}
}

/* ---- both ---- */

static PGresult *read_letters(const struct dlq *dlq, struct error *err)
{
	char limit[32], *sql;
	PGresult *letters;

	if (dlq->limited)
		snprintf(limit, sizeof(limit), "%" PRId64, dlq->limit);
	else
		snprintf(limit, sizeof(limit), "%s", dlq->json ? "ALL" : LIMIT);
	sql = xasprintf(LIST_SQL, "%s", limit,
			dlq->action == DLQ_LIST ? ""
			: dlq->payload		? SHOW_COLUMNS PAYLOAD_COLUMNS
						: SHOW_COLUMNS);
	letters = dlq_query(dlq, "reading dead letters", sql, err);
	free(sql);
	return letters;
}

static int report_size(const struct dlq *dlq, int shown, int64_t total)
{
	if (total == 0 && dlq->action == DLQ_SHOW)
		return dlq_nothing(dlq);
	if (dlq->json)
		return EXIT_DONE;
	if (total == 0 && !dlq_filter_is_set(&dlq->filter))
		fprintf(stderr, "no event of %s is parked or a dead letter\n", dlq->shown);
	else if (total == 0)
		dlq_nothing(dlq);
	else if (total > shown)
		fprintf(stderr, "%d of %" PRId64 " events; --limit %" PRId64 " shows all\n", shown,
			total, total);
	return EXIT_DONE;
}

int dlq_list(struct dlq *dlq, struct error *err)
{
	PGresult *letters = read_letters(dlq, err);
	json_t *list = json_array();
	int rows = letters ? PQntuples(letters) : 0, status = -1;

	for (int row = 0; row < rows; row++)
		json_array_append_new(list, dlq->action == DLQ_SHOW
						? whole_letter_of(dlq, letters, row)
						: letter_of(letters, row));
	if (letters) {
		if (dlq->json)
			command_print(list);
		else
			print_letters(dlq, list);
		fflush(stdout);
		status = report_size(dlq, rows, rows > 0 ? pgsync_number(letters, 0, "total") : 0);
	}
	PQclear(letters);
	json_decref(list);
	return status;
}

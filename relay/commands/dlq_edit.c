/* SPDX-License-Identifier: ISC */
/*
 * dlq_edit.c - `dlq edit`: another payload or other headers for an event
 *
 * The database judges a payload: by the type of the payload's column, and as it would print it,
 * since that is what is published.
 */
#include "base/xalloc.h"
#include "dlq.h"
#include "postgres.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value of PostgreSQL has at most 1 GB, and twice as much in hex must fit. */
enum { PAYLOAD_MAX = 256 * 1024 * 1024, READ_SIZE = 64 * 1024 };

/* What did not fit into its column is among the extra ones, and must not be taken for nothing. */
static const char FIND_SQL[] =
    "SELECT d.number, d.id, d.event_id, left(d.key, 1000) AS key, d.attempts, true AS asked,"
    " d.payload_type, d.payload IS NULL AS bare_payload, d.headers IS NULL AS bare_headers,"
    " d.extra::text AS extra,"
    " to_char(d.attempted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS attempted_at"
    " FROM outbox_relay.dead_letters AS d WHERE d.outbox = to_regclass($1)%s"
    " ORDER BY d.number LIMIT 2";

/* By the type's name (regtype): the bytes that would be published. Any other is text. */
static const struct {
	const char *type, *sql;
} payloads[] = {
    {"bytea", "$2::bytea"},
    {"jsonb", "convert_to(convert_from($2::bytea, pg_client_encoding())::jsonb::text,"
	      " pg_client_encoding())"},
    {"json", "convert_to(rtrim(convert_from($2::bytea, pg_client_encoding()), E' \\t\\r\\n')"
	     "::json::text, pg_client_encoding())"},
    {"", "convert_to(convert_from($2::bytea, pg_client_encoding()), pg_client_encoding())"},
};

struct edit {
	const char *type;
	char *bytes; /* of the payload; owned; NULL: as it is */
	size_t len;
	char *hex; /* the same as bytea has it; owned */
};

static int refuse(const char *text)
{
	fprintf(stderr, "outbox-relay dlq: %s\n", text);
	return EXIT_FAILED;
}

/* ---- what is put in place ---- */

static bool read_all(FILE *file, struct edit *edit)
{
	size_t got;

	do {
		edit->bytes = xrealloc(edit->bytes, edit->len + READ_SIZE);
		got = fread(edit->bytes + edit->len, 1, READ_SIZE, file);
		edit->len += got;
	} while (got > 0 && edit->len <= PAYLOAD_MAX);
	return !ferror(file);
}

static bool read_payload(const char *path, struct edit *edit, struct error *err)
{
	bool is_stdin = strcmp(path, "-") == 0, read;
	FILE *file = is_stdin ? stdin : fopen(path, "rb");

	if (!file)
		return error_set(err, "opening %s: %s", path, strerror(errno));
	read = read_all(file, edit);
	if (!read)
		error_set(err, "reading %s: %s", path, strerror(errno));
	else if (edit->len > PAYLOAD_MAX)
		read = error_set(err, "%s has more than 256 MiB, which no Kafka takes", path);
	if (!is_stdin)
		fclose(file);
	return read;
}

static char *hex_of(const char *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *hex = xmalloc(2 * len + 3), *out = hex + 2;

	hex[0] = '\\';
	hex[1] = 'x';
	for (size_t i = 0; i < len; i++) {
		*out++ = digits[(unsigned char)bytes[i] >> 4];
		*out++ = digits[(unsigned char)bytes[i] & 15];
	}
	*out = '\0';
	return hex;
}

static bool is_flat(const json_t *headers, struct error *err)
{
	const json_t *value;
	const char *name;

	if (!json_is_object(headers) && !json_is_null(headers))
		return error_set(err, "--headers must be an object, or null for none");
	json_object_foreach((json_t *)headers, name, value)
	{
		if (json_is_object(value) || json_is_array(value))
			return error_set(err,
					 "--headers: member \"%s\" is nested; only strings, "
					 "numbers, true, false and null can be headers",
					 name);
	}
	return true;
}

/* The relay judges them once more when it publishes them (core/headers.c). */
static bool check_headers(const char *text, struct error *err)
{
	json_error_t wrong;
	json_t *headers = json_loads(text, JSON_DECODE_ANY, &wrong);
	bool flat = headers && is_flat(headers, err);

	if (!headers)
		error_set(err, "--headers is no JSON: %s, column %d", wrong.text, wrong.column);
	json_decref(headers);
	return flat;
}

static bool read_edit(const struct dlq *dlq, struct edit *edit, struct error *err)
{
	if (!dlq->payload_file)
		return true;
	if (!read_payload(dlq->payload_file, edit, err))
		return false;
	edit->hex = hex_of(edit->bytes, edit->len);
	return true;
}

/* ---- whether it may be put there ---- */

static bool overflows(const PGresult *letters, const char *bare, const char *column)
{
	const char *text = pgsync_text(letters, 0, "extra");
	json_t *extra = text ? json_loads(text, 0, NULL) : NULL;
	bool found = pgsync_bool(letters, 0, bare) && *column && json_object_get(extra, column);

	json_decref(extra);
	return found;
}

static int judge(const struct dlq *dlq, const struct dlq_asked *asked)
{
	const struct config_columns *columns = &dlq->config->outbox.columns;
	const PGresult *letters = asked->letters;
	const char *attempted;

	if (PQntuples(letters) == 0)
		return dlq_report(dlq, asked, NULL, DLQ_NO_OBSTACLE);
	if (PQntuples(letters) > 1)
		return refuse("more than one event matches, and one is edited at a time; "
			      "name it by --id or --event-id");
	if (!dlq->payload_file && overflows(letters, "bare_payload", columns->payload))
		return refuse("this payload is too large to be kept as it is; give another one "
			      "with --payload-file, too");
	if (!dlq->headers && overflows(letters, "bare_headers", columns->headers))
		return refuse("these headers are too large to be kept as they are; give others "
			      "with --headers, too");
	attempted = pgsync_text(letters, 0, "attempted_at");
	if (!attempted || !dlq->payload_file)
		return -1;
	fprintf(stderr,
		"event %s may have reached Kafka with its old payload, at %s: consumers may see "
		"one event id with two payloads\n",
		pgsync_text(letters, 0, "id"), attempted);
	return dlq->force ? -1 : refuse("nothing was changed; edit it all the same with --force");
}

/* ---- the request ---- */

static const char *payload_sql(const struct edit *edit)
{
	size_t i = 0;

	while (payloads[i].type[0] != '\0' && strcmp(payloads[i].type, edit->type) != 0)
		i++;
	return payloads[i].sql;
}

/* Where the text ceases to be JSON; PostgreSQL's words do not say it. */
static void explain_json(const struct edit *edit, struct error *err)
{
	json_error_t wrong;
	json_t *parsed = json_loadb(edit->bytes, edit->len, JSON_DECODE_ANY, &wrong);

	if (parsed)
		error_set(err, "the column of the payload is %s, and takes no such JSON",
			  edit->type);
	else
		error_set(err,
			  "the column of the payload is %s, and this is none: line %d, "
			  "column %d",
			  edit->type, wrong.line, wrong.column);
	json_decref(parsed);
}

/* Whether the payload's column would take it. */
static bool check_payload(const struct dlq *dlq, const struct edit *edit, struct error *err)
{
	const char *params[] = {dlq->table, edit->hex};
	char *sql =
	    xasprintf("SELECT octet_length(%s) WHERE $1::text IS NOT NULL", payload_sql(edit));
	PGresult *result = pgsync_query(dlq->conn, "checking the payload", sql, 2, params, err);

	free(sql);
	PQclear(result);
	if (result)
		return true;
	if (strncmp(pgsync_sqlstate(), "22", 2) != 0) /* data exception */
		return false;
	if (strncmp(edit->type, "json", 4) == 0)
		explain_json(edit, err);
	else
		error_set(err,
			  "the column of the payload is %s, and this is no text in the database's "
			  "encoding",
			  edit->type);
	return false;
}

static bool request(const struct dlq *dlq, const struct dlq_asked *asked, const struct edit *edit,
		    struct error *err)
{
	bool no_headers = dlq->headers && strcmp(dlq->headers, "null") == 0;
	const char *params[] = {dlq->table, edit->hex, no_headers ? NULL : dlq->headers,
				pgsync_text(asked->letters, 0, "number")};
	char *sql = xasprintf(
	    "INSERT INTO outbox_relay.letter_requests (outbox, letter, action, payload, headers)"
	    " SELECT d.outbox, d.number, 'edit', CASE WHEN $2::text IS NULL THEN d.payload"
	    " ELSE %s END, %s FROM outbox_relay.dead_letters AS d"
	    " WHERE d.outbox = to_regclass($1) AND d.number = $4::bigint"
	    " ON CONFLICT (letter, action, outbox) DO NOTHING RETURNING number",
	    payload_sql(edit), dlq->headers ? "$3::text" : "coalesce($3::text, d.headers)");
	PGresult *result = pgsync_query(dlq->conn, "asking the relays", sql, 4, params, err);
	bool done = result && PQntuples(result) == 1;

	if (result && !done)
		error_set(err, "this event is gone, or another edit of it has not been carried out "
			       "yet; `outbox-relay dlq list` says which");
	free(sql);
	PQclear(result);
	return done;
}

static int edit_one(const struct dlq *dlq, const struct dlq_asked *asked, struct edit *edit,
		    struct error *err)
{
	int status = judge(dlq, asked);
	const char *type;

	if (status >= 0)
		return status;
	type = pgsync_text(asked->letters, 0, "payload_type");
	edit->type = type ? type : "bytea";
	if (edit->hex && !check_payload(dlq, edit, err))
		return -1;
	if (!dlq->dry_run && !request(dlq, asked, edit, err))
		return -1;
	return dlq_wait(dlq, asked, err);
}

int dlq_edit(struct dlq *dlq, struct error *err)
{
	struct edit edit = {0};
	struct dlq_asked asked = {0};
	int status = -1;

	if (dlq->headers && !check_headers(dlq->headers, err)) {
		command_failed("dlq", err);
		return EXIT_USAGE;
	}
	if (read_edit(dlq, &edit, err) && dlq_asked_read(dlq, FIND_SQL, &asked, err))
		status = edit_one(dlq, &asked, &edit, err);
	dlq_asked_free(&asked);
	free(edit.bytes);
	free(edit.hex);
	return status;
}

/* SPDX-License-Identifier: ISC */
/*
 * chunk.c - a claim's result as events, without copying the payloads
 *
 * Payload, headers and text fields point into the PGresult; uuids and integers are made text in one
 * arena per chunk.
 */
#include "chunk.h"

#include "base/xalloc.h"
#include "postgres.h"
#include "sql_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { UUID_TEXT = 36, INTEGER_TEXT = 21 };

/* 2000-01-01 in microseconds since 1970: where Postgres' binary timestamps begin. */
static const int64_t postgres_epoch_us = 946684800000000;

struct outbox_chunk {
	struct chunk chunk; /* first: the rest of the program sees only this */
	PGresult **results; /* owned, each too */
	size_t result_count;
	struct slice *fields; /* owned; field_count per row */
	struct slice *notes;  /* owned; of copies, COPY_NOTES per row */
	char *arena, *unused; /* owned; texts of uuids and integers */
};

static void chunk_free(struct chunk *chunk)
{
	struct outbox_chunk *own = (struct outbox_chunk *)chunk;
	free(chunk->events);
	free(own->fields);
	free(own->notes);
	free(own->arena);
	for (size_t i = 0; i < own->result_count; i++)
		PQclear(own->results[i]);
	free(own->results);
	free(own);
}

static struct slice cell(const PGresult *result, int row, int column)
{
	if (PQgetisnull(result, row, column))
		return SLICE_NULL;
	return (struct slice){PQgetvalue(result, row, column),
			      (size_t)PQgetlength(result, row, column)};
}

static size_t text_room(uint32_t type)
{
	if (type == TYPE_UUID)
		return UUID_TEXT;
	return type == TYPE_INT2 || type == TYPE_INT4 || type == TYPE_INT8 ? INTEGER_TEXT : 0;
}

static size_t print_uuid(const char *raw, char *out)
{
	static const char digits[] = "0123456789abcdef";
	char *at = out;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[(unsigned char)raw[i] >> 4];
		*at++ = digits[(unsigned char)raw[i] & 15];
	}
	return (size_t)(at - out);
}

static int64_t integer(const char *raw, uint32_t type)
{
	if (type == TYPE_INT8)
		return pg_get_int8(raw);
	return type == TYPE_INT4 ? pg_get_int4(raw) : pg_get_int2(raw);
}

static struct slice text_of(struct outbox_chunk *own, struct slice raw, uint32_t type)
{
	if (raw.data == NULL || text_room(type) == 0)
		return raw;
	char *out = own->unused;
	size_t len = type == TYPE_UUID ? print_uuid(raw.data, out)
				       : (size_t)snprintf(out, INTEGER_TEXT, "%lld",
							  (long long)integer(raw.data, type));
	own->unused += text_room(type);
	return (struct slice){out, len};
}

/* A timestamptz, or a timestamp, which is taken for UTC. 0, not known: infinity, which is the
 * largest number, minus infinity, the smallest, and times beyond the year 294246. */
static int64_t unix_time(struct slice raw)
{
	if (raw.data == NULL)
		return 0;
	int64_t time = pg_get_int8(raw.data);
	bool known = time != INT64_MIN && time <= INT64_MAX - postgres_epoch_us;
	return known ? time + postgres_epoch_us : 0;
}

/* What a result's rows are. */
enum kind { ROWS, LETTERS, COPIES };

/* A letter's are all text. */
static uint32_t *field_types(const struct outbox_shape *shape, enum kind kind)
{
	uint32_t *types = xcalloc(shape->field_count, sizeof(*types));
	for (size_t i = 0; i < shape->field_count; i++)
		types[i] =
		    kind != ROWS ? TYPE_TEXT : outbox_shape_column(shape, shape->fields[i])->type;
	return types;
}

static void read_row(struct outbox_chunk *own, const PGresult *result, int row, struct event *event,
		     const uint32_t *types, size_t field_count)
{
	struct slice *fields = own->fields + (size_t)(event - own->chunk.events) * field_count;
	struct slice withheld = cell(result, row, CLAIM_WITHHELD);
	for (size_t i = 0; i < field_count; i++)
		fields[i] = text_of(own, cell(result, row, CLAIM_FIELDS + (int)i), types[i]);
	event->id = pg_get_int8(PQgetvalue(result, row, CLAIM_ID));
	event->fields = fields;
	event->identity = fields[0];
	event->payload = cell(result, row, CLAIM_PAYLOAD);
	event->headers = cell(result, row, CLAIM_HEADERS);
	event->created_us = unix_time(cell(result, row, CLAIM_CREATED));
	event->withheld = withheld.data != NULL;
	event->payload_bytes =
	    withheld.data ? pg_get_int8(withheld.data) : (int64_t)event->payload.len;
	event->unreadable = event->withheld && event->payload_bytes > PRINTABLE;
	event->chunk = &own->chunk;
	if (PQgetisnull(result, row, CLAIM_LETTER))
		return;
	int64_t letter = pg_get_int8(PQgetvalue(result, row, CLAIM_LETTER));
	event->again = letter < 0;
	event->letter = letter < 0 ? -letter : letter;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct event *)a)->id, y = ((const struct event *)b)->id;
	return (x > y) - (x < y);
}

static int by_letter(const void *a, const void *b)
{
	int64_t x = ((const struct event *)a)->letter, y = ((const struct event *)b)->letter;
	return (x > y) - (x < y);
}

static void sort(struct chunk *chunk)
{
	for (size_t i = 1; i < chunk->count; i++)
		if (chunk->events[i - 1].id > chunk->events[i].id) {
			qsort(chunk->events, chunk->count, sizeof(struct event), by_id);
			return;
		}
}

static void read_rows(struct outbox_chunk *own, const PGresult *result, const uint32_t *types,
		      size_t field_count)
{
	struct chunk *chunk = &own->chunk;
	int rows = PQntuples(result);
	for (int i = 0; i < rows; i++)
		if (!outbox_claim_moved(result, i))
			read_row(own, result, i, &chunk->events[chunk->count++], types,
				 field_count);
}

/* They follow the fields. */
static void read_notes(struct outbox_chunk *own, const PGresult *result, size_t field_count)
{
	size_t rows = own->chunk.count;
	own->notes = xcalloc(rows * COPY_NOTES + 1, sizeof(*own->notes));
	for (size_t row = 0; row < rows; row++) {
		struct slice *notes = own->notes + row * COPY_NOTES;
		for (int i = 0; i < COPY_NOTES; i++)
			notes[i] = cell(result, (int)row, CLAIM_FIELDS + (int)field_count + i);
		own->chunk.events[row].copy = notes;
	}
}

static struct chunk *make(PGresult **results, size_t count, const struct outbox_shape *shape,
			  enum kind kind)
{
	struct outbox_chunk *own = xcalloc(1, sizeof(*own));
	struct chunk *chunk = &own->chunk;
	size_t rows = 0, arena = 0;
	uint32_t *types = field_types(shape, kind);
	for (size_t i = 0; i < count; i++) {
		rows += (size_t)PQntuples(results[i]);
		chunk->bytes += PQresultMemorySize(results[i]);
	}
	for (size_t i = 0; i < shape->field_count; i++)
		arena += text_room(types[i]);
	own->results = results;
	own->result_count = count;
	own->fields = xcalloc(rows * shape->field_count + 1, sizeof(*own->fields));
	own->arena = own->unused = xmalloc(rows * arena + 1);
	chunk->events = xcalloc(rows + 1, sizeof(*chunk->events));
	chunk->free = chunk_free;
	chunk->bytes += rows * arena;
	chunk->bytes += rows * (sizeof(struct event) + shape->field_count * sizeof(struct slice));
	for (size_t i = 0; i < count; i++)
		read_rows(own, results[i], types, shape->field_count);
	free(types);
	if (kind == COPIES)
		read_notes(own, results[0], shape->field_count);
	if (kind != ROWS)
		qsort(chunk->events, chunk->count, sizeof(struct event), by_letter);
	else
		sort(chunk);
	return chunk;
}

struct chunk *outbox_chunk_new(PGresult **results, size_t count, const struct outbox_shape *shape)
{
	return make(results, count, shape, ROWS);
}

static struct chunk *make_one(PGresult *result, const struct outbox_shape *shape, enum kind kind)
{
	PGresult **results = xcalloc(1, sizeof(PGresult *));
	results[0] = result;
	return make(results, 1, shape, kind);
}

struct chunk *outbox_chunk_of_letters(PGresult *result, const struct outbox_shape *shape)
{
	return make_one(result, shape, LETTERS);
}

struct chunk *outbox_chunk_of_copies(PGresult *result, const struct outbox_shape *shape)
{
	return make_one(result, shape, COPIES);
}

bool outbox_claim_moved(const PGresult *result, int row)
{
	return !PQgetisnull(result, row, CLAIM_LETTER) &&
	       pg_get_int8(PQgetvalue(result, row, CLAIM_LETTER)) == 0;
}

bool outbox_claim_kept(const PGresult *result)
{
	int rows = PQntuples(result);
	for (int i = 0; i < rows; i++) {
		int meant = PQgetisnull(result, i, CLAIM_PLACES)
				? -1
				: pg_get_int4(PQgetvalue(result, i, CLAIM_PLACES));
		if (meant != rows && meant != PLACES_STAY)
			return true;
	}
	return false;
}

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
	char *arena, *unused; /* owned; texts of uuids and integers */
};

static void chunk_free(struct chunk *chunk)
{
	struct outbox_chunk *own = (struct outbox_chunk *)chunk;
	free(chunk->events);
	free(own->fields);
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

static uint32_t *field_types(const struct outbox_shape *shape)
{
	uint32_t *types = xcalloc(shape->field_count, sizeof(*types));
	for (size_t i = 0; i < shape->field_count; i++)
		types[i] = outbox_shape_column(shape, shape->fields[i])->type;
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
	event->chunk = &own->chunk;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct event *)a)->id, y = ((const struct event *)b)->id;
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
		read_row(own, result, i, &chunk->events[chunk->count++], types, field_count);
}

struct chunk *outbox_chunk_new(PGresult **results, size_t count, const struct outbox_shape *shape)
{
	struct outbox_chunk *own = xcalloc(1, sizeof(*own));
	struct chunk *chunk = &own->chunk;
	size_t rows = 0, arena = 0;
	uint32_t *types = field_types(shape);
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
	sort(chunk);
	return chunk;
}

bool outbox_claim_kept(const PGresult *result)
{
	int rows = PQntuples(result);
	for (int i = 0; i < rows; i++)
		if (PQgetisnull(result, i, CLAIM_PLACES) ||
		    pg_get_int4(PQgetvalue(result, i, CLAIM_PLACES)) != rows)
			return true;
	return false;
}

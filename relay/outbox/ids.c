/* SPDX-License-Identifier: ISC */
/*
 * ids.c - the events of a batch as array parameters
 */
#include "ids.h"

#include "base/text.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A growing array literal. */
struct literal {
	char *text;
	size_t len, capacity;
};

static void put(struct literal *literal, const char *bytes, size_t len)
{
	while (literal->len + len + 1 > literal->capacity) {
		literal->capacity = literal->capacity ? literal->capacity * 2 : 256;
		literal->text = xrealloc(literal->text, literal->capacity);
	}
	memcpy(literal->text + literal->len, bytes, len);
	literal->len += len;
	literal->text[literal->len] = '\0';
}

static void separate(struct literal *literal)
{
	put(literal, literal->len == 0 ? "{" : ",", 1);
}

static void add_number(struct literal *literal, int64_t value)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)value);
	separate(literal);
	put(literal, digits, (size_t)len);
}

static bool needs_escape(char c)
{
	return c == '"' || c == '\\';
}

static void add_text(struct literal *literal, struct slice text)
{
	size_t from = 0;
	separate(literal);
	put(literal, "\"", 1);
	for (size_t i = 0; i < text.len; i++) {
		if (!needs_escape(text.data[i]))
			continue;
		put(literal, text.data + from, i - from);
		put(literal, "\\", 1);
		from = i;
	}
	put(literal, text.data + from, text.len - from);
	put(literal, "\"", 1);
}

/* NULL, which no text is: a foreign table may hold rows without an identity. */
static void add_text_or_null(struct literal *literal, struct slice identity)
{
	if (identity.data != NULL) {
		add_text(literal, identity);
		return;
	}
	separate(literal);
	put(literal, "NULL", 4);
}

/* Words may hold bytes that are no character, or a character that the database's encoding lacks;
 * the server would refuse the whole statement, time and again. */
static void add_words(struct literal *literal, const char *words, bool utf8)
{
	char *plain = xstrdup(words != NULL ? words : "");
	for (char *c = plain; *c != '\0';) {
		size_t len = text_character(c, 4);
		if (len == 0 || (len > 1 && !utf8)) {
			*c++ = '?';
			continue;
		}
		c += len;
	}
	add_text(literal, slice_of(plain));
	free(plain);
}

static char *finish(struct literal *literal)
{
	if (literal->len == 0)
		put(literal, "{", 1);
	put(literal, "}", 1);
	return literal->text;
}

/* The arrays while they grow. */
struct making {
	struct literal numbers, identities, reasons, errors, held, attempts;
};

static void add(struct outbox_ids *ids, struct making *m, int64_t id, struct slice identity)
{
	ids->count++;
	add_number(&m->numbers, id);
	add_text_or_null(&m->identities, identity);
}

static void finish_all(struct outbox_ids *ids, struct making *m)
{
	ids->ids = finish(&m->numbers);
	ids->identities = finish(&m->identities);
	ids->reasons = finish(&m->reasons);
	ids->errors = finish(&m->errors);
	ids->held = finish(&m->held);
	ids->attempts = finish(&m->attempts);
}

/* What an item is. */
enum kind { ROW, LETTER, COPY };

static enum kind kind_of(const struct outbox_ids_item *item)
{
	if (item->copy != NULL)
		return COPY;
	return item->letter != 0 ? LETTER : ROW;
}

static void published(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count,
		      enum kind kind)
{
	struct making m = {0};
	ids->count = 0;
	for (size_t i = 0; i < count; i++) {
		if (items[i].rejected != NULL || kind_of(&items[i]) != kind)
			continue;
		add(ids, &m, kind == ROW ? items[i].id : items[i].letter, items[i].identity);
		if (kind == COPY)
			add_text_or_null(&m.attempts, items[i].copy[COPY_ATTEMPTS]);
	}
	finish_all(ids, &m);
}

void outbox_ids_published(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count)
{
	published(ids, items, count, ROW);
}

static bool is_own_identity(const struct outbox_ids_item *item)
{
	char id[24];
	snprintf(id, sizeof(id), "%lld", (long long)item->id);
	return item->identity.data != NULL && !slice_equal(item->identity, slice_of(id));
}

size_t outbox_ids_rows_of_letters(struct outbox_ids_item *rows, const struct outbox_ids_item *items,
				  size_t count)
{
	size_t found = 0;
	for (size_t i = 0; i < count; i++)
		if (kind_of(&items[i]) == LETTER && items[i].rejected == NULL &&
		    is_own_identity(&items[i])) {
			rows[found] = items[i];
			rows[found++].letter = 0;
		}
	return found;
}

void outbox_ids_letters_published(struct outbox_ids *ids, const struct outbox_ids_item *items,
				  size_t count)
{
	published(ids, items, count, LETTER);
}

void outbox_ids_copied(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count)
{
	published(ids, items, count, COPY);
}

void outbox_ids_one(struct outbox_ids *ids, int64_t id, const char *identity)
{
	struct outbox_ids_item item = {
	    .id = id, .identity = identity != NULL ? slice_of(identity) : SLICE_NULL};
	outbox_ids_published(ids, &item, 1);
}

/* An event that waits for its topic has no reason. */
static void add_verdict(struct making *m, const struct outbox_ids_item *item, bool utf8)
{
	const struct event *event = item->rejected;
	bool deferred = event->state == EVENT_DEFERRED;
	const char *held = deferred ? "topic" : item->parks ? "key" : NULL;
	char *words = deferred ? xasprintf("topic %s cannot be used", event->why) : NULL;
	add_text_or_null(&m->reasons,
			 deferred ? SLICE_NULL : slice_of(reject_reason_name(event->reason)));
	add_words(&m->errors, deferred ? words : event->why, utf8);
	add_text_or_null(&m->held, held != NULL ? slice_of(held) : SLICE_NULL);
	free(words);
}

static void rejected(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count,
		     bool utf8, enum kind kind)
{
	struct making m = {0};
	ids->count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct event *event = items[i].rejected;
		if (event == NULL || kind_of(&items[i]) != kind ||
		    (kind != ROW && event->state == EVENT_DEFERRED))
			continue;
		add(ids, &m, kind == ROW ? items[i].id : items[i].letter, items[i].identity);
		add_verdict(&m, &items[i], utf8);
	}
	finish_all(ids, &m);
}

void outbox_ids_rejected(struct outbox_ids *ids, const struct outbox_ids_item *items, size_t count,
			 bool utf8)
{
	rejected(ids, items, count, utf8, ROW);
}

void outbox_ids_letters_rejected(struct outbox_ids *ids, const struct outbox_ids_item *items,
				 size_t count, bool utf8)
{
	rejected(ids, items, count, utf8, LETTER);
}

void outbox_ids_free(struct outbox_ids *ids)
{
	free(ids->ids);
	free(ids->identities);
	free(ids->reasons);
	free(ids->errors);
	free(ids->held);
	free(ids->attempts);
	memset(ids, 0, sizeof(*ids));
}

char *outbox_ids_texts(const char *const *texts, size_t count)
{
	struct literal literal = {0};
	for (size_t i = 0; i < count; i++)
		add_text(&literal, slice_of(texts[i]));
	return finish(&literal);
}

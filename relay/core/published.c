/* SPDX-License-Identifier: ISC */
/*
 * published.c - which of the rows that wait in an outbox are published already
 */
#include "core/published.h"

#include "base/xalloc.h"
#include "core/audit.h"
#include "hashed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SEED_KEY UINT64_C(0x9e3779b97f4a7c15)
#define NO_TOPIC UINT32_MAX

/* A row that is looked up. */
struct item {
	uint64_t name[2];
	int64_t id;
	uint64_t key; /* 0: none */
	uint32_t topic;
	bool found;
};

/* One that cannot be. */
struct rest {
	int64_t id;
	uint64_t key;
};

/* A key of which a row is published, and the highest id of these. */
struct key {
	uint64_t hash[1];
	int64_t last;
};

/* The name of a topic, and its number. */
struct named {
	uint64_t name[2];
	size_t number;
};

struct ids {
	int64_t *items; /* owned */
	size_t count, room;
};

struct published {
	struct hashed items, keys, names;
	struct published_topic *topics; /* owned, and their names */
	size_t topic_count;
	struct rest *rest; /* owned */
	size_t rest_count, rest_room;
	struct ids found, counted;
	struct published_behind *behind; /* owned */
	size_t behind_count, behind_room;
	struct published_counts counts;
	bool judged;
};

struct published *published_new(void)
{
	struct published *published = xcalloc(1, sizeof(*published));

	hashed_init(&published->items, sizeof(struct item), 2);
	hashed_init(&published->keys, sizeof(struct key), 1);
	hashed_init(&published->names, sizeof(struct named), 2);
	return published;
}

void published_free(struct published **published)
{
	struct published *p = *published;

	if (p == NULL)
		return;
	hashed_fini(&p->items);
	hashed_fini(&p->keys);
	hashed_fini(&p->names);
	for (size_t i = 0; i < p->topic_count; i++)
		free((char *)(uintptr_t)p->topics[i].name);
	free(p->topics);
	free(p->rest);
	free(p->found.items);
	free(p->counted.items);
	free(p->behind);
	free(p);
	*published = NULL;
}

/* ---- lists that grow ---- */

/* Room for one more. */
static void *grown(void *items, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return items;
	*room = *room == 0 ? 64 : *room + *room / 2;
	return xrealloc(items, *room * size);
}

static void add_id(struct ids *ids, int64_t id)
{
	ids->items = grown(ids->items, ids->count, &ids->room, sizeof(*ids->items));
	ids->items[ids->count++] = id;
}

static int compare_ids(const void *a, const void *b)
{
	const int64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static void sort_ids(struct ids *ids)
{
	if (ids->count > 1)
		qsort(ids->items, ids->count, sizeof(*ids->items), compare_ids);
}

/* ---- the rows ---- */

size_t published_topic_of(struct published *published, struct slice name)
{
	struct audit_name hash = audit_name(name);
	struct named *named =
	    hashed_find(&published->names, (const uint64_t[]){hash.high, hash.low});
	char *copy;

	if (named != NULL)
		return named->number;
	assert(published->topic_count < NO_TOPIC);
	copy = xmalloc(name.len + 1);
	memcpy(copy, name.data, name.len);
	copy[name.len] = '\0';
	published->topics =
	    xrealloc(published->topics, (published->topic_count + 1) * sizeof(*published->topics));
	published->topics[published->topic_count] = (struct published_topic){.name = copy};
	named = hashed_add(&published->names, (const uint64_t[]){hash.high, hash.low});
	named->number = published->topic_count;
	return published->topic_count++;
}

static uint64_t key_of(struct slice key)
{
	uint64_t hash = key.data != NULL ? hashed_slice(key, SEED_KEY) : 0;

	return hash == 0 && key.data != NULL ? 1 : hash;
}

static void pass(struct published *published, uint64_t hash, int64_t id)
{
	struct key *key;

	if (hash == 0)
		return;
	key = hashed_find(&published->keys, (const uint64_t[]){hash});
	if (key == NULL) {
		key = hashed_add(&published->keys, (const uint64_t[]){hash});
		key->last = id;
	} else if (id > key->last) {
		key->last = id;
	}
}

static void keep_rest(struct published *published, int64_t id, uint64_t key)
{
	published->rest = grown(published->rest, published->rest_count, &published->rest_room,
				sizeof(*published->rest));
	published->rest[published->rest_count++] = (struct rest){id, key};
}

/* Of two rows with one event id the one with the lower id is looked up, in whatever order they
 * come. */
static void keep_double(struct published *published, struct item *item,
			const struct published_row *row, uint64_t key)
{
	struct item other = *item;

	published->counts.doubled++;
	if (row->id >= item->id) {
		keep_rest(published, row->id, key);
		return;
	}
	item->id = row->id;
	item->key = key;
	item->topic = row->topic == PUBLISHED_NOWHERE ? NO_TOPIC : (uint32_t)row->topic;
	keep_rest(published, other.id, other.key);
}

static void look_up(struct published *published, const struct published_row *row, uint64_t key)
{
	struct audit_name name = audit_name(row->event_id);
	const uint64_t words[] = {name.high, name.low};
	struct item *item = hashed_find(&published->items, words);

	if (item != NULL) {
		keep_double(published, item, row, key);
		return;
	}
	item = hashed_add(&published->items, words);
	item->id = row->id;
	item->key = key;
	item->topic = row->topic == PUBLISHED_NOWHERE ? NO_TOPIC : (uint32_t)row->topic;
	published->counts.looked_up++;
}

static void count_at(struct published_topic *topic, const struct published_row *row)
{
	topic->waiting++;
	topic->counted += row->counts;
	if (row->counts || row->event_id.data == NULL)
		return;
	if (topic->looked_up == 0 || row->created_ms < topic->oldest_ms)
		topic->oldest_ms = row->created_ms;
	topic->looked_up++;
}

void published_take(struct published *published, const struct published_row *row)
{
	uint64_t key = key_of(row->key);

	assert(!published->judged);
	published->counts.waiting++;
	if (row->topic == PUBLISHED_NOWHERE)
		published->counts.nowhere++;
	else
		count_at(&published->topics[row->topic], row);
	if (row->counts) {
		add_id(&published->counted, row->id);
		pass(published, key, row->id);
	} else if (row->event_id.data == NULL) {
		published->counts.nameless++;
		keep_rest(published, row->id, key);
	} else {
		look_up(published, row, key);
	}
}

size_t published_topics(const struct published *published)
{
	return published->topic_count;
}

const struct published_topic *published_topic(const struct published *published, size_t topic)
{
	return &published->topics[topic];
}

/* ---- the records ---- */

bool published_record(struct published *published, struct slice event_id)
{
	struct audit_name name = audit_name(event_id);
	struct item *item = hashed_find(&published->items, (const uint64_t[]){name.high, name.low});

	if (item == NULL || item->found)
		return false;
	item->found = true;
	return true;
}

/* ---- what came of it ---- */

static void settle_found(void *arg, void *item)
{
	struct published *published = arg;
	const struct item *i = item;

	if (!i->found)
		return;
	add_id(&published->found, i->id);
	pass(published, i->key, i->id);
	if (i->topic != NO_TOPIC)
		published->topics[i->topic].found++;
}

static void leave(struct published *published, int64_t id, uint64_t hash)
{
	struct published_counts *counts = &published->counts;
	const struct key *key =
	    hash != 0 ? hashed_find(&published->keys, (const uint64_t[]){hash}) : NULL;

	if (counts->left == 0 || id < counts->first_left)
		counts->first_left = id;
	if (counts->left == 0 || id > counts->last_left)
		counts->last_left = id;
	counts->left++;
	if (key == NULL || key->last <= id)
		return;
	published->behind = grown(published->behind, published->behind_count,
				  &published->behind_room, sizeof(*published->behind));
	published->behind[published->behind_count++] = (struct published_behind){id, key->last};
}

static void leave_item(void *arg, void *item)
{
	const struct item *i = item;

	if (!i->found)
		leave(arg, i->id, i->key);
}

static int compare_behind(const void *a, const void *b)
{
	return compare_ids(&((const struct published_behind *)a)->id,
			   &((const struct published_behind *)b)->id);
}

void published_judge(struct published *published)
{
	struct published_counts *counts = &published->counts;

	assert(!published->judged);
	published->judged = true;
	hashed_each(&published->items, settle_found, published);
	hashed_each(&published->items, leave_item, published);
	for (size_t i = 0; i < published->rest_count; i++)
		leave(published, published->rest[i].id, published->rest[i].key);
	sort_ids(&published->found);
	sort_ids(&published->counted);
	if (published->behind_count > 1)
		qsort(published->behind, published->behind_count, sizeof(*published->behind),
		      compare_behind);
	for (size_t i = 0; i < published->topic_count; i++) {
		struct published_topic *topic = &published->topics[i];

		topic->left = topic->waiting - topic->counted - topic->found;
	}
	counts->counted = published->counted.count;
	counts->found = published->found.count;
	counts->behind = published->behind_count;
}

const struct published_counts *published_counts(const struct published *published)
{
	return &published->counts;
}

const int64_t *published_found(const struct published *published, size_t *count)
{
	*count = published->found.count;
	return published->found.items;
}

const int64_t *published_counted(const struct published *published, size_t *count)
{
	*count = published->counted.count;
	return published->counted.items;
}

const struct published_behind *published_behind(const struct published *published, size_t *count)
{
	*count = published->behind_count;
	return published->behind;
}

bool published_is_found(const struct published *published, int64_t id, struct slice event_id)
{
	struct audit_name name = audit_name(event_id);
	const struct item *item =
	    hashed_find(&published->items, (const uint64_t[]){name.high, name.low});

	return item != NULL && item->found && item->id == id;
}

size_t published_bytes(const struct published *published)
{
	return hashed_bytes(&published->items) + hashed_bytes(&published->keys) +
	       published->rest_room * sizeof(*published->rest) +
	       (published->found.room + published->counted.room) * sizeof(int64_t) +
	       published->behind_room * sizeof(*published->behind);
}

/* SPDX-License-Identifier: ISC */
/*
 * compare.c - compares what two sets of topics hold, event by event
 */
#include "core/compare.h"

#include "base/xalloc.h"
#include "hashed.h"

#include <assert.h>
#include <stdlib.h>

/* Seeds, so that a key is no value. */
#define SEED_KEY   UINT64_C(0x9e3779b97f4a7c15)
#define SEED_VALUE UINT64_C(0xc2b2ae3d27d4eb4f)
#define SEED_NAME  UINT64_C(0x165667b19e3779f9)

/* What a record says, in numbers. */
struct digest {
	uint64_t key, value;
	uint64_t headers, ordered; /* whatever their order is; in their order */
};

/* An event: where it was first, in the live topics or, if it is not there, in the shadow's. */
struct item {
	uint64_t name[2];
	struct digest digest;
	int64_t offset, time_ms;
	uint32_t place;
	bool seen[COMPARE_SIDES];
};

/* A key in a partition of each set, and the last of its events in the live one that the shadow has
 * had. */
struct key {
	uint64_t hash[1];
	int64_t last; /* its offset and 1; 0: none */
};

struct compare {
	struct hashed items, keys;
	const struct compare_place *places[COMPARE_SIDES];
	struct compare_range range;
	struct compare_counts counts[COMPARE_SIDES];
	uint64_t pairs, found[COMPARE_FINDINGS];
	bool shadow_begun;
};

struct compare *compare_new(const struct compare_place *const places[COMPARE_SIDES],
			    const struct compare_range *range)
{
	struct compare *compare = xcalloc(1, sizeof(*compare));

	hashed_init(&compare->items, sizeof(struct item), 2);
	hashed_init(&compare->keys, sizeof(struct key), 1);
	for (int side = 0; side < COMPARE_SIDES; side++)
		compare->places[side] = places[side];
	compare->range = *range;
	return compare;
}

void compare_free(struct compare **compare)
{
	if (*compare == NULL)
		return;
	hashed_fini(&(*compare)->items);
	hashed_fini(&(*compare)->keys);
	free(*compare);
	*compare = NULL;
}

/* ---- digests ---- */

static struct digest digest_of(const struct compare_record *record)
{
	struct digest digest = {.key = hashed_slice(record->key, SEED_KEY),
				.value = hashed_slice(record->value, SEED_VALUE)};

	for (size_t i = 0; i < record->header_count; i++) {
		const struct compare_header *header = &record->headers[i];
		uint64_t hash = hashed_mix(hashed_slice(header->name, SEED_NAME) ^
					   hashed_slice(header->value, SEED_VALUE));

		digest.headers += hash;
		digest.ordered = hashed_mix(digest.ordered ^ hash) + SEED_NAME;
	}
	return digest;
}

static unsigned differ(const struct digest *a, const struct digest *b)
{
	unsigned found = 0;

	found |= a->key != b->key ? COMPARE_KEY : 0;
	found |= a->value != b->value ? COMPARE_VALUE : 0;
	if (a->headers != b->headers)
		found |= COMPARE_HEADERS;
	else if (a->ordered != b->ordered)
		found |= COMPARE_HEADER_ORDER;
	return found;
}

/* ---- judging ---- */

static bool is_in_range(const struct compare *compare, int64_t time_ms)
{
	return time_ms >= compare->range.since_ms && time_ms < compare->range.until_ms;
}

static unsigned judge_places(const struct compare *compare, size_t live, size_t shadow)
{
	const struct compare_place *a = &compare->places[COMPARE_LIVE][live],
				   *b = &compare->places[COMPARE_SHADOW][shadow];

	if (a->topic != b->topic)
		return COMPARE_TOPIC;
	return a->partitions == b->partitions && a->partition != b->partition ? COMPARE_PARTITION
									      : 0;
}

/* Between two partitions there is no order, in neither set. The key is the live one: it may differ
 * in the shadow for each event alike. */
static bool is_late(struct compare *compare, const struct item *item, size_t shadow_place)
{
	uint64_t hash = hashed_mix(hashed_mix(item->digest.key + item->place) + shadow_place);
	struct key *key = hashed_add(&compare->keys, (const uint64_t[]){hash != 0 ? hash : 1});

	if (item->offset + 1 >= key->last)
		key->last = item->offset + 1;
	return item->offset + 1 < key->last;
}

static unsigned judge_pair(struct compare *compare, struct item *item,
			   const struct compare_record *record)
{
	const struct digest digest = digest_of(record);
	unsigned found =
	    differ(&item->digest, &digest) | judge_places(compare, item->place, record->place);

	found |= item->time_ms != record->time_ms ? COMPARE_TIME : 0;
	if (item->digest.key != hashed_slice(SLICE_NULL, SEED_KEY) &&
	    is_late(compare, item, record->place))
		found |= COMPARE_ORDER;
	if (!is_in_range(compare, item->time_ms) && !is_in_range(compare, record->time_ms))
		return 0;
	compare->pairs++;
	return found;
}

static void note(struct item *item, const struct compare_record *record)
{
	item->digest = digest_of(record);
	item->offset = record->offset;
	item->time_ms = record->time_ms;
	item->place = (uint32_t)record->place;
}

static unsigned judge(struct compare *compare, enum compare_side side,
		      const struct compare_record *record, struct compare_spot *other)
{
	struct item *item;
	bool in_range = is_in_range(compare, record->time_ms), again;

	if (!record->has_name)
		return in_range ? COMPARE_WITHOUT_ID : 0;
	item = hashed_add(&compare->items, (const uint64_t[]){record->name.high, record->name.low});
	again = item->seen[side];
	*other = (struct compare_spot){item->seen[COMPARE_LIVE] ? COMPARE_LIVE : COMPARE_SHADOW,
				       item->place, item->offset};
	item->seen[side] = true;
	if (again)
		return in_range ? COMPARE_REPEATED : 0;
	if (item->seen[COMPARE_LIVE] && side == COMPARE_SHADOW)
		return judge_pair(compare, item, record);
	note(item, record);
	return 0;
}

unsigned compare_record(struct compare *compare, enum compare_side side,
			const struct compare_record *record, struct compare_spot *other)
{
	struct compare_counts *counts = &compare->counts[side];
	unsigned found;

	assert(side == COMPARE_SHADOW || !compare->shadow_begun);
	compare->shadow_begun = side == COMPARE_SHADOW;
	found = judge(compare, side, record, other);
	counts->records++;
	counts->without_id += (found & COMPARE_WITHOUT_ID) != 0;
	counts->repeated += (found & COMPARE_REPEATED) != 0;
	for (size_t i = 0; i < COMPARE_FINDINGS; i++)
		compare->found[i] += found >> i & 1;
	return found;
}

/* ---- what came of it ---- */

struct search {
	struct compare *compare;
	void (*each)(void *arg, struct compare_spot spot);
	void *arg;
};

static void on_item(void *arg, void *item)
{
	const struct search *search = arg;
	const struct item *i = item;
	enum compare_side there = i->seen[COMPARE_LIVE] ? COMPARE_LIVE : COMPARE_SHADOW;

	if ((i->seen[COMPARE_LIVE] && i->seen[COMPARE_SHADOW]) ||
	    !is_in_range(search->compare, i->time_ms))
		return;
	search->compare->counts[there == COMPARE_LIVE ? COMPARE_SHADOW : COMPARE_LIVE].missing++;
	search->each(search->arg, (struct compare_spot){there, i->place, i->offset});
}

void compare_missing(struct compare *compare, void (*each)(void *arg, struct compare_spot spot),
		     void *arg)
{
	struct search search = {compare, each, arg};

	hashed_each(&compare->items, on_item, &search);
}

const struct compare_counts *compare_counts(const struct compare *compare, enum compare_side side)
{
	return &compare->counts[side];
}

uint64_t compare_pairs(const struct compare *compare)
{
	return compare->pairs;
}

uint64_t compare_found(const struct compare *compare, enum compare_finding finding)
{
	for (size_t i = 0; i < COMPARE_FINDINGS; i++)
		if ((unsigned)finding == 1u << i)
			return compare->found[i];
	return 0;
}

size_t compare_bytes(const struct compare *compare)
{
	return hashed_bytes(&compare->items) + hashed_bytes(&compare->keys);
}

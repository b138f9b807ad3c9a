/* SPDX-License-Identifier: ISC */
/*
 * position_model.c - the model of a position: what it shows as published, and where a claim leaves
 * it
 */
#include "position_model.h"

#include "base/xalloc.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- snapshots ---- */

static bool is_running(const struct pgsnapshot *snapshot, uint64_t x)
{
	size_t from = 0, to = snapshot->running_count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (snapshot->running[middle] == x)
			return true;
		if (snapshot->running[middle] < x)
			from = middle + 1;
		else
			to = middle;
	}
	return false;
}

bool pgsnapshot_shows(const struct pgsnapshot *snapshot, uint64_t x)
{
	return x < snapshot->xmin || (x < snapshot->xmax && !is_running(snapshot, x));
}

bool pgsnapshot_shows_all(const struct pgsnapshot *snapshot, const struct pgsnapshot *of)
{
	for (size_t i = 0; i < snapshot->running_count; i++)
		if (pgsnapshot_shows(of, snapshot->running[i]))
			return false;
	return snapshot->xmax >= of->xmax;
}

bool pgsnapshot_equal(const struct pgsnapshot *a, const struct pgsnapshot *b)
{
	if (a->xmin != b->xmin || a->xmax != b->xmax || a->running_count != b->running_count)
		return false;
	for (size_t i = 0; i < a->running_count; i++)
		if (a->running[i] != b->running[i])
			return false;
	return true;
}

/* In the order in which a server came to them: of those with the same xmax, the later has fewer
 * that are under way. */
static int compare_snapshots(const struct pgsnapshot *a, const struct pgsnapshot *b)
{
	if (a->xmax != b->xmax)
		return a->xmax < b->xmax ? -1 : 1;
	if (a->running_count != b->running_count)
		return a->running_count > b->running_count ? -1 : 1;
	return 0;
}

/* ---- snapshots as text ---- */

/* Digits only. */
static bool read_number(const char **text, uint64_t *number)
{
	char *end;
	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*number = strtoull(*text, &end, 10);
	*text = end;
	return errno == 0;
}

static bool read_running(struct pgsnapshot *snapshot, const char *text, uint64_t *running,
			 size_t room)
{
	for (size_t i = 0; *text != '\0'; snapshot->running_count = ++i)
		if (i == room || (i > 0 && *text++ != ',') || !read_number(&text, &running[i]) ||
		    running[i] < snapshot->xmin || running[i] >= snapshot->xmax ||
		    (i > 0 && running[i] <= running[i - 1]))
			return false;
	return true;
}

bool pgsnapshot_parse(struct pgsnapshot *snapshot, const char *text, uint64_t *running, size_t room)
{
	*snapshot = (struct pgsnapshot){.running = running};
	return read_number(&text, &snapshot->xmin) && *text++ == ':' &&
	       read_number(&text, &snapshot->xmax) && *text++ == ':' &&
	       snapshot->xmin <= snapshot->xmax && read_running(snapshot, text, running, room);
}

char *pgsnapshot_print(const struct pgsnapshot *snapshot)
{
	enum { NUMBER_SIZE = 21 };
	size_t size = (snapshot->running_count + 2) * NUMBER_SIZE + 1;
	char *text = xmalloc(size);
	int used = snprintf(text, size, "%" PRIu64 ":%" PRIu64 ":", snapshot->xmin, snapshot->xmax);
	for (size_t i = 0; i < snapshot->running_count; i++)
		used += snprintf(text + used, size - (size_t)used, "%s%" PRIu64, i > 0 ? "," : "",
				 snapshot->running[i]);
	return text;
}

/* ---- positions ---- */

static bool has_passed(const struct position *position, int64_t id)
{
	return position->has_reached && id <= position->reached;
}

bool position_settles(const struct position *position, uint64_t x, int64_t id)
{
	return pgsnapshot_shows(&position->finished, x) ||
	       (position->has_target && pgsnapshot_shows(&position->target, x) &&
		has_passed(position, id));
}

bool position_equal(const struct position *a, const struct position *b)
{
	return pgsnapshot_equal(&a->finished, &b->finished) && a->has_target == b->has_target &&
	       (!a->has_target || pgsnapshot_equal(&a->target, &b->target)) &&
	       a->has_reached == b->has_reached && (!a->has_reached || a->reached == b->reached) &&
	       a->walks == b->walks;
}

static int compare_reached(const struct position *a, const struct position *b)
{
	if (!a->has_reached || !b->has_reached)
		return (int)a->has_reached - (int)b->has_reached;
	return (a->reached > b->reached) - (a->reached < b->reached);
}

/* What has finished less comes first; then what has decided on its target, and the lower one, and
 * what has reached less of it. Of two that are at the same place one may walk: either could come
 * first, and the statement and this are to say the same. */
static bool is_behind(const struct position *a, const struct position *b)
{
	int finished = compare_snapshots(&a->finished, &b->finished);
	if (finished != 0 || a->has_target != b->has_target)
		return finished != 0 ? finished < 0 : a->has_target;
	int target = a->has_target ? compare_snapshots(&a->target, &b->target) : 0;
	if (target != 0)
		return target < 0;
	int reached = compare_reached(a, b);
	return reached != 0 ? reached < 0 : !a->walks && b->walks;
}

/* The next snapshot that another shard has finished: they come to one position. */
static const struct position *next_ahead(const struct position *positions, size_t count,
					 const struct position *behind)
{
	const struct position *next = NULL;
	for (size_t i = 0; i < count; i++) {
		const struct pgsnapshot *finished = &positions[i].finished;
		if (pgsnapshot_equal(finished, &behind->finished) ||
		    !pgsnapshot_shows_all(finished, &behind->finished))
			continue;
		if (next == NULL || compare_snapshots(finished, &next->finished) < 0)
			next = &positions[i];
	}
	return next;
}

struct position_start position_start(const struct position *positions, size_t count,
				     const struct pgsnapshot *present)
{
	struct position_start start = {.goal = *present};
	assert(count > 0);
	for (size_t i = 1; i < count; i++)
		if (is_behind(&positions[i], &positions[start.first]))
			start.first = i;
	const struct position *behind = &positions[start.first];
	const struct position *ahead = next_ahead(positions, count, behind);
	start.bound = behind->has_target || ahead != NULL;
	for (size_t i = 0; i < count; i++)
		start.apart |= !pgsnapshot_equal(&positions[i].finished, &behind->finished);
	if (behind->has_target)
		start.goal = behind->target;
	else if (ahead != NULL)
		start.goal = ahead->finished;
	return start;
}

/* ---- claims ---- */

bool position_is_next(const struct position *position, const struct pgsnapshot *goal, uint64_t x,
		      int64_t id)
{
	return pgsnapshot_shows(goal, x) && !pgsnapshot_shows(&position->finished, x) &&
	       !has_passed(position, id);
}

/* As many as the claim may take; those of the last one's id stay with it, since no position lies
 * between them. */
static size_t within_rows(const struct position_row *rows, size_t count, int64_t most)
{
	size_t first = most < (int64_t)count ? (size_t)most : count;
	while (first > 0 && first < count && rows[first].id == rows[first - 1].id)
		first++;
	return first;
}

/* Of these, as there is room for, and those of the first id at least; none from a held one on. */
static size_t fitting(const struct position_row *rows, size_t count, int64_t bytes)
{
	size_t fit = 0;
	int64_t sum = 0;
	for (size_t i = 0, next; i < count; i = next) {
		bool held = false;
		for (next = i; next < count && rows[next].id == rows[i].id; next++) {
			sum += rows[next].size;
			held |= rows[next].held;
		}
		if (held || (i > 0 && bytes >= 0 && sum > bytes))
			break;
		fit = next;
	}
	return fit;
}

/* So many are not sorted for each claim: it takes nothing, and the walk begins below the lowest. */
static struct position_taken begin_walk(const struct position *position,
					const struct position_start *start, int64_t lowest)
{
	struct position_taken taken = {.cut = true, .writes = true, .moves = true};
	taken.behind = (struct position){.finished = position->finished,
					 .target = start->goal,
					 .has_target = true,
					 .has_reached = lowest > INT64_MIN,
					 .walks = true};
	if (taken.behind.has_reached)
		taken.behind.reached = lowest - 1;
	return taken;
}

struct position_taken position_take(const struct position *position,
				    const struct position_start *start,
				    const struct position_row *rows, size_t count,
				    const struct position_limits *limits)
{
	struct position_taken taken = {0};
	if (!position->walks && (int64_t)count > limits->few)
		return begin_walk(position, start, rows[0].id);
	size_t within = within_rows(rows, count, limits->rows);
	taken.rows = fitting(rows, within, limits->bytes);
	/* A walk does not know of more than it has looked at. */
	taken.cut = taken.rows < within ||
		    (position->walks ? (int64_t)within >= limits->rows : within < count);
	bool stale = start->goal.xmax > position->finished.xmax &&
		     start->goal.xmax - position->finished.xmax > limits->stale;
	taken.writes = taken.rows > 0 || (!taken.cut && (start->bound || start->apart || stale));
	taken.moves = taken.rows > 0 || (!taken.cut && start->bound);
	if (!taken.cut) {
		taken.behind = (struct position){.finished = start->goal};
		return taken;
	}
	taken.behind = *position;
	taken.behind.target = start->goal;
	taken.behind.has_target = true;
	if (taken.rows > 0) {
		taken.behind.reached = rows[taken.rows - 1].id;
		taken.behind.has_reached = true;
	}
	return taken;
}

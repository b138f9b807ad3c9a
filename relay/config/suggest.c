/*
 * suggest.c - what a misspelt option may have meant
 */
#include "base/xalloc.h"
#include "table.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	char *more;

	if (len != strlen(members->group) || strncmp(path, members->group, len) != 0)
		return;
	more =
	    xasprintf("%s%s%s", members->text, *members->text != '\0' ? ", " : "", leaf_of(path));
	free(members->text);
	members->text = more;
}

char *config_members(const char *group)
{
	struct members members = {group, xstrdup("")};

	walk(add_member, &members);
	return members.text;
}

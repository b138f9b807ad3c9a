/* SPDX-License-Identifier: ISC */
/*
 * adopt_done.c - columns by which an application tells the events that it has handled already, by
 * their names and types
 */
#include "adopt.h"

#include "base/xalloc.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_one_of(const char *const *list, const char *text)
{
	for (; *list; list++) {
		if (strcmp(*list, text) == 0)
			return true;
	}
	return false;
}

/* "is_published", "publishedAt" and "published_on" are "published". */
static const char *const prefixes[] = {"is", "was", "has", NULL};
static const char *const suffixes[] = {"timestamp", "datetime", "flag", "date",
				       "time",	    "at",	"on",	NULL};
static const char *const participles[] = {
    "acked",	 "acknowledged", "archived",   "completed",   "complete",  "consumed", "deleted",
    "delivered", "dequeued",	 "dispatched", "done",	      "emitted",   "exported", "finished",
    "forwarded", "handled",	 "processed",  "produced",    "published", "pushed",   "relayed",
    "sent",	 "succeeded",	 "success",    "transmitted", NULL};

/* With a time beside them they mean the same: "publish_time". */
static const char *const verbs[] = {"dispatch",	   "process", "processing", "publish",
				    "publication", "sending", NULL};
/* True of an event that is still to be handled. */
static const char *const inverse[] = {"pending", "ispending",	"unsent", "unpublished",
				      "isnew",	 "unprocessed", NULL};

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Small letters and digits only: "publishedAt" and "published_at" are one name. */
static void squeeze(const char *name, char *out)
{
	for (; *name; name++) {
		if (isalnum((unsigned char)*name))
			*out++ = (char)tolower((unsigned char)*name);
	}
	*out = '\0';
}

/* The next word of a name, in small letters: "sentToKafka" and "sent_to_kafka" have three. */
static const char *next_word(const char *at, char *word)
{
	while (*at && !isalnum((unsigned char)*at))
		at++;
	for (bool first = true; isalnum((unsigned char)*at); first = false) {
		if (!first && isupper((unsigned char)*at) && islower((unsigned char)at[-1]))
			break;
		*word++ = (char)tolower((unsigned char)*at++);
	}
	*word = '\0';
	return at;
}

static bool has_word_of(const char *name, const char *const *list)
{
	char word[PGNAME_SIZE];

	for (name = next_word(name, word); *word; name = next_word(name, word)) {
		if (is_one_of(list, word))
			return true;
	}
	return false;
}

static bool is_participle(char *name)
{
	const char *const *affix;
	size_t len;

	if (is_one_of(participles, name))
		return true;
	for (affix = prefixes; *affix; affix++) {
		len = strlen(*affix);
		if (strncmp(name, *affix, len) == 0 && is_one_of(participles, name + len))
			return true;
	}
	for (affix = suffixes; *affix; affix++) {
		if (!ends_with(name, *affix))
			continue;
		name[strlen(name) - strlen(*affix)] = '\0';
		return is_one_of(participles, name);
	}
	return false;
}

static bool is_number(const char *type)
{
	static const char *const types[] = {"int2", "int4", "int8", "numeric", NULL};

	return is_one_of(types, type);
}

static bool is_time(const char *type)
{
	static const char *const types[] = {"timestamptz", "timestamp", "date", NULL};

	return is_one_of(types, type);
}

/* A text that says no is no. */
static char *participle_condition(const char *column, const char *type)
{
	if (strcmp(type, "bool") == 0)
		return xstrdup(column);
	if (is_number(type))
		return xasprintf("%s <> 0", column);
	if (is_time(type))
		return xasprintf("%s IS NOT NULL", column);
	return xasprintf("lower(btrim(%s::text)) NOT IN ('', 'n', 'no', 'f', 'false', '0')",
			 column);
}

/* Of a status only the words that say that the event need not be published any more. */
static char *status_condition(const char *column, const char *type)
{
	if (is_number(type))
		return xasprintf("%s <> 0", column);
	if (strcmp(type, "bool") == 0)
		return xstrdup(column);
	return xasprintf(
	    "lower(%s::text) ~ '^(ack|archiv|cancel|complet|consum|dead|deliver|dispatch|"
	    "done|emit|error|export|fail|finish|forward|handled|ignor|ok|processed|"
	    "produced|publish(ed)?$|relayed|sent|skip|succe|transmitted)'",
	    column);
}

/* A boolean or a time may be called by several words, as "already_sent"; text that is, as
 * "published_by", means something else. */
static bool says_done(const char *column, char *squeezed, const char *type)
{
	if (is_participle(squeezed))
		return true;
	if (strcmp(type, "bool") == 0)
		return has_word_of(column, participles);
	return is_time(type) && (has_word_of(column, participles) || has_word_of(column, verbs));
}

static bool is_status(const char *squeezed)
{
	return ends_with(squeezed, "status") || ends_with(squeezed, "state") ||
	       strcmp(squeezed, "stage") == 0 || strcmp(squeezed, "phase") == 0;
}

bool adopt_is_status(const struct adopt_column *column)
{
	char name[PGNAME_SIZE];

	squeeze(column->name, name);
	return is_status(name);
}

static bool begins_with_one_of(const char *const *list, const char *value)
{
	for (; *list; list++) {
		if (strncasecmp(*list, value, strlen(*list)) == 0)
			return true;
	}
	return false;
}

/* In whole: short words that others begin with. */
static bool is_word_of(const char *const *list, const char *value)
{
	for (; *list; list++) {
		if (strcasecmp(*list, value) == 0)
			return true;
	}
	return false;
}

bool adopt_says_published(const char *value)
{
	static const char *const begins[] = {"acked",	 "acknowledged", "archived",	"complete",
					     "consumed", "deliver",	 "dispatched",	"done",
					     "emitted",	 "exported",	 "finished",	"forwarded",
					     "handled",	 "processed",	 "produced",	"relayed",
					     "sent",	 "succe",	 "transmitted", NULL};
	static const char *const words[] = {"publish", "published", "ok", "y", "yes",
					    "t",       "true",	    "1",  NULL};

	return begins_with_one_of(begins, value) || is_word_of(words, value);
}

bool adopt_says_pending(const char *value)
{
	static const char *const begins[] = {"pending",	    "unsent",	   "unpublished",
					     "unprocessed", "undelivered", "waiting",
					     "not_",	    "not ",	   NULL};
	static const char *const words[] = {
	    "new",    "created",   "ready", "init", "initial", "open",	"queued", "todo", "added",
	    "stored", "scheduled", "n",	    "no",   "f",       "false", "0",	  NULL};

	return begins_with_one_of(begins, value) || is_word_of(words, value);
}

char *adopt_done_condition(const struct adopt_column *column)
{
	char name[PGNAME_SIZE], quoted[PGNAME_QUOTED_SIZE];

	squeeze(column->name, name);
	pgname_quote(column->name, quoted);
	if (is_status(name))
		return status_condition(quoted, column->type);
	if (strcmp(column->type, "bool") == 0 && is_one_of(inverse, name))
		return xasprintf("NOT %s", quoted);
	return says_done(column->name, name, column->type)
		   ? participle_condition(quoted, column->type)
		   : NULL;
}

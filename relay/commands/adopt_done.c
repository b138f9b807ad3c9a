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

/* Of what is done with an event. A time of that name may be one to come: "publish_at". */
static const char *const verbs[] = {"deliver",	  "dispatch",	 "process", "processing", "publish",
				    "publishing", "publication", "send",    "sending",	  NULL};
/* They may turn a participle round: "not_sent", "to_be_sent", "next_sent_at". */
static const char *const turns[] = {"await", "awaiting", "be",	    "by",    "can",    "could",
				    "may",   "must",	 "need",    "needs", "never",  "next",
				    "no",    "not",	 "ready",   "retry", "should", "started",
				    "until", "wait",	 "waiting", "yet",   NULL};
/* Beside a verb they do not change what it says. */
static const char *const fillers[] = {"for", "is", "to", NULL};

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

static bool is_undone(const char *word)
{
	return strncmp(word, "un", 2) == 0 && is_one_of(participles, word + 2);
}

/* How many words of a name are such. */
struct words {
	size_t all, participles, undone, pending, verbs, turns, fillers;
};

static struct words words_of(const char *name)
{
	struct words found = {0};
	char word[PGNAME_SIZE];

	for (name = next_word(name, word); *word; name = next_word(name, word)) {
		found.all++;
		found.participles += is_one_of(participles, word);
		found.undone += is_undone(word);
		found.pending += strcmp(word, "pending") == 0;
		found.verbs += is_one_of(verbs, word);
		found.turns += is_one_of(turns, word);
		found.fillers += is_one_of(fillers, word);
	}
	return found;
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

static bool is_boolean(const char *type)
{
	return strcmp(type, "bool") == 0;
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
	if (is_boolean(type))
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
	if (is_boolean(type))
		return xstrdup(column);
	return xasprintf(
	    "lower(%s::text) ~ '^(ack|archiv|cancel|complet|consum|dead|deliver|dispatch|"
	    "done|emit|error|export|fail|finish|forward|handled|ignor|ok|processed|"
	    "produced|publish(ed)?$|relayed|sent|skip|succe|transmitted)'",
	    column);
}

static bool is_status(const char *squeezed)
{
	return ends_with(squeezed, "status") || ends_with(squeezed, "state") ||
	       strcmp(squeezed, "stage") == 0 || strcmp(squeezed, "phase") == 0;
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

/* "unsent", "is_pending", "is_new". */
static bool waits(const char *squeezed)
{
	static const char *const names[] = {"pending", "new", NULL};

	if (strncmp(squeezed, "is", 2) == 0)
		squeezed += 2;
	return is_undone(squeezed) || is_one_of(names, squeezed);
}

/* Text of one letter, or of few words. */
static bool is_text(const char *type)
{
	static const char *const types[] = {"bpchar", "char", "text", "varchar", NULL};

	return is_one_of(types, type);
}

/* A boolean or a time may be called by several words, as "already_sent". */
static enum adopt_says says_of_words(const struct words *words, bool time)
{
	if (words->participles > 0)
		return words->turns > 0 ? ADOPT_UNSURE : ADOPT_DONE;
	if (words->undone > 0 || (words->pending > 0 && !time))
		return ADOPT_UNSURE;
	if (words->verbs > 0 &&
	    (time || words->all == words->verbs + words->turns + words->fillers))
		return ADOPT_UNSURE;
	return ADOPT_NOTHING;
}

/* Text that speaks of it in several words, as "published_by", means something else. */
static enum adopt_says says_of(const struct adopt_column *column, char *squeezed)
{
	struct words words = words_of(column->name);
	bool undone = waits(squeezed);

	if (is_participle(squeezed))
		return ADOPT_DONE;
	if (undone && is_boolean(column->type))
		return ADOPT_WAITS;
	if (undone && strcmp(squeezed, "new") != 0 &&
	    (is_number(column->type) || is_text(column->type)))
		return ADOPT_UNSURE;
	return is_boolean(column->type) || is_time(column->type)
		   ? says_of_words(&words, is_time(column->type))
		   : ADOPT_NOTHING;
}

enum adopt_says adopt_says(const struct adopt_column *column)
{
	char name[PGNAME_SIZE];

	squeeze(column->name, name);
	return is_status(name) ? ADOPT_STATUS : says_of(column, name);
}

char *adopt_done_condition(const struct adopt_column *column)
{
	char quoted[PGNAME_QUOTED_SIZE];

	pgname_quote(column->name, quoted);
	switch (adopt_says(column)) {
	case ADOPT_STATUS:
		return status_condition(quoted, column->type);
	case ADOPT_DONE:
		return participle_condition(quoted, column->type);
	case ADOPT_WAITS:
		return xasprintf("NOT %s", quoted);
	default:
		return NULL;
	}
}

/* SPDX-License-Identifier: ISC */
/*
 * frame.c - one picture of `status --watch` as text
 */
#include "frame.h"

#include "base/xalloc.h"
#include "lines.h"
#include "position_state.h"
#include "producer_state.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ACTIONS_MAX = 3 };

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : "";
}

static double number_of(const json_t *object, const char *member)
{
	return json_number_value(json_object_get(object, member));
}

static json_int_t integer_of(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

/* A curve of one character a sample, under its highest. */
static char *curve(const double *values, size_t count, bool unicode)
{
	static const char *const BLOCKS[] = {"\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83",
					     "\xe2\x96\x84", "\xe2\x96\x85", "\xe2\x96\x86",
					     "\xe2\x96\x87", "\xe2\x96\x88"};
	static const char *const SIGNS[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
	const char *const *steps = unicode ? BLOCKS : SIGNS;
	char *text = xstrdup("");
	double most = 0;

	for (size_t i = 0; i < count; i++)
		most = values[i] > most ? values[i] : most;
	for (size_t i = 0; i < count; i++)
		xappend(&text, "%s",
			values[i] < 0 ? " "
				      : steps[most > 0 ? (size_t)(values[i] / most * 7 + 0.5) : 0]);
	return text;
}

/* The most urgent problem for which the relay is not ready. */
static const json_t *trouble_of(const json_t *relay)
{
	const json_t *problem;
	size_t i;

	json_array_foreach(json_object_get(relay, "problems"), i, problem)
	{
		if (!json_is_true(json_object_get(problem, "ready")) ||
		    strcmp(text_of(problem, "name"), "stuck") == 0)
			return problem;
	}
	return NULL;
}

static const char *word_of(const json_t *relay, enum tone *tone, char *text, size_t size)
{
	const json_t *problem;

	*tone = TONE_BAD;
	if (json_is_true(json_object_get(relay, "halted")))
		return "[x] Halted";
	if (trouble_of(relay))
		return "[x] In trouble";
	*tone = TONE_WARN;
	if (json_is_true(json_object_get(relay, "paused")))
		return "[!] Paused";
	problem = json_array_get(json_object_get(relay, "problems"), 0);
	if (problem != NULL) {
		snprintf(text, size, "[!] Publishing, but: %s", text_of(problem, "name"));
		return text;
	}
	*tone = TONE_GOOD;
	if (*text_of(relay, "standby"))
		return "[o] Standby";
	return number_of(relay, "depth") > 0 || number_of(relay, "batch_events") > 0
		   ? "[+] Publishing"
		   : "[+] Publishing: nothing waits";
}

static void add_state(struct lines *lines, const json_t *seen)
{
	const json_t *relay = json_object_get(seen, "relay");
	enum tone tone;
	const char *word;
	char text[64];

	if (json_is_object(relay)) {
		word = word_of(relay, &tone, text, sizeof(text));
		lines_add(lines, tone, "state", "%s", word);
		lines_add(lines, TONE_PLAIN, "", "%s", text_of(relay, "explanation"));
	} else {
		lines_add(lines, TONE_WARN, "state", "[?] No answer from a relay since %s",
			  text_of(seen, "relay_since"));
		lines_add(lines, TONE_PLAIN, "", "%s", text_of(seen, "relay_error"));
		if (json_is_true(json_object_get(seen, "paused")))
			lines_add(lines, TONE_WARN, "", "[!] Paused");
	}
	if (json_object_get(seen, "database_error")) {
		lines_add(lines, TONE_BAD, "database", "[x] Not asked since %s",
			  text_of(seen, "database_since"));
		lines_add(lines, TONE_PLAIN, "", "%s", text_of(seen, "database_error"));
	}
}

static void add_problems(struct lines *lines, const json_t *relay)
{
	const json_t *problem, *seconds;
	char time[32];
	size_t i;

	json_array_foreach(json_object_get(relay, "problems"), i, problem)
	{
		seconds = json_object_get(problem, "seconds");
		lines_add(
		    lines, json_is_true(json_object_get(problem, "ready")) ? TONE_WARN : TONE_BAD,
		    i == 0 ? "problems" : "", "%s%s%s: %s", text_of(problem, "name"),
		    json_is_number(seconds) ? " for " : "",
		    json_is_number(seconds) ? words_lasting(json_number_value(seconds), time) : "",
		    text_of(problem, "text"));
		lines_add(lines, TONE_PLAIN, "", "see %s", text_of(problem, "runbook"));
	}
}

/* Of the whole outbox if the database was asked, otherwise of the relay's shards. */
static void add_backlog(struct lines *lines, const json_t *seen,
			const struct frame_history *history)
{
	const json_t *relay = json_object_get(seen, "relay"), *age;
	bool whole = json_is_integer(json_object_get(seen, "depth"));
	const json_t *from = whole ? seen : relay;
	char *drawn, oldest[32];

	if (!json_is_object(from) || (!whole && integer_of(relay, "shards_owned") == 0))
		return;
	age = json_object_get(from, "oldest_age_seconds");
	lines_add(lines, TONE_PLAIN, "backlog", "%s%" JSON_INTEGER_FORMAT "%s%s%s",
		  json_is_false(json_object_get(from, "depth_exact")) ? "about " : "",
		  integer_of(from, "depth"), whole ? "" : " in the shards of this relay",
		  integer_of(from, "depth") > 0 && json_is_number(age) ? ", oldest " : "",
		  integer_of(from, "depth") > 0 && json_is_number(age)
		      ? words_lasting(json_number_value(age), oldest)
		      : "");
	drawn = curve(history->depth, history->count, lines->unicode);
	lines_add(lines, TONE_PLAIN, "", "%s", drawn);
	free(drawn);
}

struct labelled_lines {
	struct lines *lines;
	const char *label;
};

static void add_labelled_line(void *arg, bool warns, const char *text)
{
	struct labelled_lines *own = arg;

	lines_add(own->lines, warns ? TONE_WARN : TONE_PLAIN, own->label, "%s", text);
	own->label = "";
}

/* The database told it, or nobody did. */
static void add_position(struct lines *lines, const json_t *seen)
{
	struct labelled_lines own = {lines, "position"};

	position_state_tell(seen, add_labelled_line, &own);
}

static void add_producers(struct lines *lines, const json_t *seen)
{
	struct labelled_lines own = {lines, "producers"};

	producer_state_tell(seen, add_labelled_line, &own);
}

static void add_rate(struct lines *lines, const json_t *relay, const struct frame_history *history)
{
	const json_t *latency = json_object_get(relay, "latency");
	char *drawn, p50[32], p95[32], p99[32];

	if (!json_is_object(relay))
		return;
	lines_add(lines, TONE_PLAIN, "rate", "%.1f/s, last minute %.1f/s",
		  number_of(relay, "rate_10s"), number_of(relay, "rate_60s"));
	drawn = curve(history->rate, history->count, lines->unicode);
	lines_add(lines, TONE_PLAIN, "", "%s", drawn);
	free(drawn);
	if (json_is_object(latency))
		lines_add(lines, TONE_PLAIN, "latency", "%s, p95 %s, p99 %s",
			  words_lasting(number_of(latency, "p50"), p50),
			  words_lasting(number_of(latency, "p95"), p95),
			  words_lasting(number_of(latency, "p99"), p99));
	else
		lines_add(lines, TONE_PLAIN, "latency", "no event in the last minute");
}

static void add_words(struct lines *lines, const char *label, bool warns, char *words)
{
	bool none = strcmp(words, "0") == 0;

	if (!warns || !none)
		lines_add(lines, warns ? TONE_WARN : TONE_PLAIN, label, "%s", words);
	free(words);
}

/* Of the whole outbox if the database was asked. What waits is shown if there is some. */
static void add_letters(struct lines *lines, const json_t *seen)
{
	const json_t *relay = json_object_get(seen, "relay");
	const json_t *from = json_is_integer(json_object_get(seen, "dead_letters")) ? seen : relay;

	if (!json_is_object(from))
		return;
	add_words(lines, "dead letters", false, words_dead_letters(from));
	add_words(lines, "parked keys", true, words_parked_keys(from));
	add_words(lines, "for topics", true, words_deferred(from, relay));
	if (integer_of(relay, "held_keys") > 0)
		lines_add(lines, TONE_WARN, "held keys",
			  "%" JSON_INTEGER_FORMAT " behind events that cannot be removed",
			  integer_of(relay, "held_keys"));
}

static void add_peers(struct lines *lines, const json_t *relay)
{
	static const char *const NAMES[][2] = {{"database", "database"}, {"kafka", "Kafka"}};

	for (size_t i = 0; json_is_object(relay) && i < 2; i++) {
		const json_t *peer = json_object_get(json_object_get(relay, "peers"), NAMES[i][0]);
		const json_t *seconds = json_object_get(peer, "seconds");
		bool connected = json_is_true(json_object_get(peer, "connected"));
		char time[32] = "";

		lines_add(
		    lines, connected ? TONE_PLAIN : TONE_BAD, i == 0 ? "peers" : "",
		    "%s %s %s%s%s (%s)", connected ? "[+]" : "[x]", NAMES[i][1],
		    connected ? "connected" : "unreachable", json_is_number(seconds) ? " for " : "",
		    json_is_number(seconds) ? words_lasting(json_number_value(seconds), time) : "",
		    text_of(peer, "address"));
	}
}

static void add_session(struct lines *lines, const char *label, const json_t *relay)
{
	json_int_t layout = integer_of(relay, "layout");
	size_t owned = json_array_size(json_object_get(relay, "shards"));
	bool abstains = json_is_true(json_object_get(relay, "abstains"));
	char owns[64] = "standby";

	if (owned > 0 && layout == 0)
		snprintf(owns, sizeof(owns), "publishes without order");
	else if (owned > 0 || abstains)
		snprintf(owns, sizeof(owns), "owns %zu of %" JSON_INTEGER_FORMAT "%s", owned,
			 layout, layout == 1 ? " shard" : " shards");
	lines_add(lines, abstains ? TONE_WARN : TONE_PLAIN, label,
		  "%s, session %" JSON_INTEGER_FORMAT ": %s%s", text_of(relay, "application"),
		  integer_of(relay, "pid"), abstains ? "[!] cannot reach Kafka, " : "", owns);
}

/* What only the database tells: shards that nobody owns, sessions that are no relays, and relays
 * that count shards in another way. */
static void add_odds(struct lines *lines, const json_t *seen)
{
	const json_t *each;
	size_t i, count, unowned = 0;

	json_array_foreach(json_object_get(seen, "shards"), count, each)
	{
		unowned += !json_is_object(json_object_get(each, "owner"));
	}
	if (unowned > 0)
		lines_add(lines, TONE_WARN, "free", "[!] %zu of %zu shards", unowned, count);
	if (json_array_size(json_object_get(seen, "layouts")) > 1)
		lines_add(lines, TONE_WARN, "at odds",
			  "[!] relays count shards in different ways: see outbox-relay status");
	json_array_foreach(json_object_get(seen, "strangers"), i, each)
	{
		lines_add(lines, TONE_WARN, i == 0 ? "no relay" : "",
			  "[!] %s, session %" JSON_INTEGER_FORMAT
			  " (role %s): has locks of relays; end it",
			  text_of(each, "application"), integer_of(each, "pid"),
			  text_of(each, "role"));
	}
}

/* What the database told, else what the relay did. */
static const json_t *told_by_either(const json_t *seen, const char *name)
{
	const json_t *told = json_object_get(seen, name);

	return told ? told : json_object_get(json_object_get(seen, "relay"), name);
}

static void add_relays(struct lines *lines, const json_t *seen)
{
	const json_t *relay, *relays = told_by_either(seen, "relays");
	size_t i;

	json_array_foreach(relays, i, relay)
	{
		add_session(lines, i == 0 ? "relays" : "", relay);
	}
	if (json_is_array(relays) && json_array_size(relays) == 0)
		lines_add(lines, TONE_WARN, "relays", "[!] none");
	add_odds(lines, seen);
}

static void add_actions(struct lines *lines, const json_t *seen)
{
	const json_t *action, *actions = told_by_either(seen, "operator_actions");
	size_t i;

	json_array_foreach(actions, i, action)
	{
		if (i == ACTIONS_MAX)
			return;
		lines_add(lines, TONE_PLAIN, i == 0 ? "operators" : "", "%s %s by %s (%s)",
			  text_of(action, "at"), text_of(action, "action"), text_of(action, "role"),
			  text_of(action, "detail"));
	}
}

static char *print(const struct lines *lines, const struct frame_shape *shape)
{
	static const char *const ON[] = {"", "\x1b[1;32m", "\x1b[1;33m", "\x1b[1;31m"};
	size_t rows = shape->rows > 1 ? (size_t)shape->rows : 1;
	size_t shown = lines->count > rows ? rows - 1 : lines->count;
	char *out = xstrdup("\x1b[H"), more[64];

	snprintf(more, sizeof(more), "%zu more lines: enlarge the window", lines->count - shown);
	for (size_t i = 0; i < shown; i++) {
		const struct line *line = &lines->items[i];
		bool coloured = shape->colour && line->tone != TONE_PLAIN;

		xappend(&out, "%s%s%s%s\x1b[K", i > 0 ? "\r\n" : "", coloured ? ON[line->tone] : "",
			line->text, coloured ? "\x1b[m" : "");
	}
	if (shown < lines->count)
		xappend(&out, "%s%.*s\x1b[K", shown > 0 ? "\r\n" : "",
			lines->columns > 0 ? lines->columns : 0, more);
	xappend(&out, "\x1b[J");
	return out;
}

char *frame_draw(const json_t *seen, const struct frame_history *history,
		 const struct frame_shape *shape)
{
	const json_t *relay = json_object_get(seen, "relay");
	struct lines lines = {NULL, 0, shape->columns - 1, shape->unicode};
	char *out;

	lines_add(&lines, TONE_PLAIN, "outbox", "%s, %s (q: quit)", text_of(seen, "outbox"),
		  text_of(seen, "time"));
	add_state(&lines, seen);
	add_problems(&lines, relay);
	add_backlog(&lines, seen, history);
	add_position(&lines, seen);
	add_rate(&lines, relay, history);
	add_letters(&lines, seen);
	add_peers(&lines, relay);
	add_relays(&lines, seen);
	add_producers(&lines, seen);
	add_actions(&lines, seen);
	out = print(&lines, shape);
	lines_free(&lines);
	return out;
}

/* SPDX-License-Identifier: ISC */
/*
 * watch.c - `status --watch`: asks, remembers a minute, draws
 *
 * Plain escapes, which every terminal of today knows: the screen takes no input but q, so that a
 * library for forms and windows would bring a dependency and nothing else.
 */
#include "watch.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "commands.h"
#include "frame.h"
#include "status_read.h"
#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_MS = 2000 };

struct watch {
	const struct config *config;
	PGconn *conn; /* kept; NULL after a failure, until the next picture */
	struct frame_history history;
	char database_since[16], relay_since[16]; /* not asked; "" if it was */
	json_t *seen;
};

/* "12:34:56Z". */
static void now_text(char out[16])
{
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(out, 16, "%H:%M:%SZ", &utc);
}

/* Which part is missing, since when. */
static void note_missing(json_t *seen, const char *member, bool missing, char since[16])
{
	if (!missing)
		since[0] = '\0';
	else if (since[0] == '\0')
		now_text(since);
	json_object_set_new(seen, member, json_string(since));
}

static bool ask_database(struct watch *w, json_t *out, struct error *err)
{
	if (!w->conn)
		w->conn = command_connect(w->config, "outbox-relay status", err);
	if (!w->conn)
		return false;
	if (status_add_database(out, w->config, w->conn, err))
		return true;
	PQfinish(w->conn);
	w->conn = NULL;
	return false;
}

static void add_database(struct watch *w)
{
	struct error err = {""};
	json_t *out = json_object();
	bool asked = ask_database(w, out, &err);

	/* Half of it would look like all of it. */
	if (asked)
		json_object_update(w->seen, out);
	else
		json_object_set_new(w->seen, "database_error", json_text(err.text));
	json_decref(out);
	note_missing(w->seen, "database_since", !asked, w->database_since);
}

static void add_relay(struct watch *w)
{
	status_add_relay(w->seen, w->config);
	note_missing(w->seen, "relay_since", !json_is_object(json_object_get(w->seen, "relay")),
		     w->relay_since);
}

static double number_or_unknown(const json_t *object, const char *member)
{
	const json_t *value = json_object_get(object, member);

	return json_is_number(value) ? json_number_value(value) : -1;
}

static void remember(struct watch *w)
{
	struct frame_history *history = &w->history;
	const json_t *relay = json_object_get(w->seen, "relay");
	double depth = number_or_unknown(w->seen, "depth");

	if (history->count == FRAME_SAMPLES) {
		history->count--;
		memmove(history->depth, history->depth + 1,
			history->count * sizeof(*history->depth));
		memmove(history->rate, history->rate + 1, history->count * sizeof(*history->rate));
	}
	history->depth[history->count] = depth < 0 ? number_or_unknown(relay, "depth") : depth;
	history->rate[history->count] = number_or_unknown(relay, "rate_10s");
	history->count++;
}

static void ask(struct watch *w)
{
	struct error err;
	char now[16];

	json_decref(w->seen);
	w->seen = json_object();
	status_add_outbox(w->seen, w->config, &err);
	add_database(w);
	add_relay(w);
	now_text(now);
	json_object_set_new(w->seen, "time", json_string(now));
	remember(w);
}

static bool draw(const struct watch *w)
{
	const char *no_colour = getenv("NO_COLOR");
	struct frame_shape shape = {.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
				    .colour = !no_colour || !*no_colour};
	char *text;
	bool good;

	terminal_size(&shape.rows, &shape.columns);
	text = frame_draw(w->seen, &w->history, &shape);
	good = terminal_write(text);
	free(text);
	return good;
}

/* Until q, or until the terminal is gone. */
static void go_on(struct watch *w)
{
	int64_t next = 0, left;

	for (;;) {
		left = (next - clock_monotonic_us()) / 1000;
		if (left <= 0) {
			ask(w);
			next = clock_monotonic_us() + EVERY_MS * 1000;
			left = EVERY_MS;
		}
		if (!draw(w) || terminal_wait((int)left) == TERMINAL_QUIT)
			return;
	}
}

static const char *why_not(void)
{
	const char *term = getenv("TERM");

	if (!isatty(STDOUT_FILENO))
		return "standard output is no terminal";
	if (!term || !*term || strcmp(term, "dumb") == 0)
		return "by TERM this terminal cannot move its cursor";
	return NULL;
}

int watch_status(const struct config *config)
{
	struct watch w = {.config = config};

	if (why_not()) {
		fprintf(stderr,
			"outbox-relay status: --watch: %s; leave --watch away, or use --json in a "
			"program\n",
			why_not());
		return EXIT_USAGE;
	}
	setlocale(LC_CTYPE, "");
	terminal_open();
	go_on(&w);
	terminal_close();
	PQfinish(w.conn);
	json_decref(w.seen);
	return EXIT_DONE;
}

/* SPDX-License-Identifier: ISC */
/*
 * handover_old.c - `handover` on the old side: waits until the outbox is empty and nobody writes,
 * pauses it, proves that this is still so, and writes down what the new side must know
 */
#include "commands.h"
#include "handover.h"
#include "pausing.h"
#include "postgres.h"
#include "progress.h"
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 100, GRACE_MS = 1000, HAND_OVER_MS = 30000 };

static size_t writers_of(const json_t *state)
{
	return json_array_size(json_object_get(state, "writers"));
}

static bool is_paused(const json_t *state)
{
	return json_is_true(json_object_get(state, "paused"));
}

static bool is_empty(const json_t *state)
{
	return handover_waiting(state) == 0 && writers_of(state) == 0;
}

/* ---- what holds it up, in words ---- */

static const char *text_of(const json_t *object, const char *member, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, member));

	return text ? text : otherwise;
}

static void say_writers(const json_t *state)
{
	const json_t *writer;
	size_t i;

	json_array_foreach(json_object_get(state, "writers"), i, writer)
	{
		const json_t *seconds = json_object_get(writer, "seconds");

		if (!json_is_integer(json_object_get(writer, "pid"))) {
			fputs("a prepared transaction has written to it: COMMIT or ROLLBACK "
			      "PREPARED (pg_prepared_xacts)\n",
			      stderr);
			continue;
		}
		fprintf(stderr,
			"session %" JSON_INTEGER_FORMAT " (role %s, application \"%s\") has an "
			"open transaction that has written to it",
			json_integer_value(json_object_get(writer, "pid")),
			text_of(writer, "role", "unknown"), text_of(writer, "application", ""));
		if (json_is_integer(seconds))
			fprintf(stderr, ", for %" JSON_INTEGER_FORMAT " s",
				json_integer_value(seconds));
		fputc('\n', stderr);
	}
}

static void say_relays(const json_t *state)
{
	const json_t *relay, *relays = json_object_get(state, "relays");
	size_t i, owned = 0;

	json_array_foreach(relays, i, relay)
	{
		size_t shards = json_array_size(json_object_get(relay, "shards"));

		owned += shards;
		fprintf(stderr, "relay %s, session %" JSON_INTEGER_FORMAT ", %s\n",
			text_of(relay, "application", "unknown"),
			json_integer_value(json_object_get(relay, "pid")),
			json_is_true(json_object_get(relay, "abstains")) ? "cannot reach Kafka"
			: shards > 0					 ? "is publishing"
									 : "is a standby");
	}
	if (i == 0)
		fputs("no relay runs\n", stderr);
	else if (owned == 0 && is_paused(state))
		fputs("the outbox is paused, so none publishes: `outbox-relay resume`\n", stderr);
}

static void say_left(const struct handover *handover, const json_t *state)
{
	const json_t *waiting = json_object_get(json_object_get(state, "left"), "waiting");

	if (handover_waiting(state) > 0) {
		fprintf(stderr,
			"%s%" JSON_INTEGER_FORMAT " events wait in %s, the first has id "
			"%" JSON_INTEGER_FORMAT "\n",
			json_is_true(json_object_get(waiting, "exact")) ? "" : "more than ",
			handover_waiting(state) - !json_is_true(json_object_get(waiting, "exact")),
			handover->shown, json_integer_value(json_object_get(waiting, "first_id")));
		say_relays(state);
	}
	say_writers(state);
}

/* ---- emptying it ---- */

/* Pauses it, and waits for the relays. False, without an error, if some still own shards. */
static bool pause_it(struct handover *handover, int64_t wait_ms, bool *failed, struct error *err)
{
	json_t *out = json_object();
	bool good = pausing_set(handover->conn, handover->table, handover->shown, true, out, err);

	handover->paused_it =
	    handover->paused_it || (good && json_is_true(json_object_get(out, "changed")));
	good = good && pausing_wait(handover->conn, handover->table, wait_ms, out, err);
	json_decref(handover->owners);
	handover->owners = json_incref(json_object_get(out, "owners"));
	json_decref(out);
	*failed = !good;
	return good && json_array_size(handover->owners) == 0;
}

/* Ends the pause if it is ours. */
static bool resume_it(struct handover *handover, struct error *err)
{
	json_t *out = json_object();
	bool good = !handover->paused_it ||
		    pausing_set(handover->conn, handover->table, handover->shown, false, out, err);

	handover->paused_it = handover->paused_it && !good;
	json_decref(out);
	return good;
}

/* Whether it is as empty under the pause as it was in before. If somebody has written meanwhile the
 * relays go on. NULL without an error: it is not. */
static json_t *prove(struct handover *handover, const json_t *before, int64_t wait_ms, bool *failed,
		     struct error *err)
{
	json_t *state = NULL;
	bool paused = pause_it(handover, wait_ms, failed, err);

	if (*failed)
		return NULL;
	if (paused)
		state = handover_state(handover, true, err);
	*failed = paused && !state;
	if (*failed ||
	    (state && is_empty(state) &&
	     json_equal(json_object_get(state, "last_id"), json_object_get(before, "last_id"))))
		return state;
	json_decref(state);
	*failed = !resume_it(handover, err);
	return NULL;
}

/* Whether no id was drawn between two looks. Relays are not paused while it is plain that somebody
 * writes. */
static bool is_quiet(const json_t *state, const json_t *before)
{
	return before &&
	       json_equal(json_object_get(state, "last_id"), json_object_get(before, "last_id"));
}

static void show_progress(const json_t *state, json_int_t *first)
{
	if (handover_waiting(state) > *first) {
		*first = handover_waiting(state);
		progress_begin(*first, "events");
	}
	progress_step(*first - handover_waiting(state));
}

/* Until it is proven empty, or the time is over. The state: proven, or what is left. NULL and err.
 */
static json_t *drain(struct handover *handover, bool *proven, struct error *err)
{
	struct waiting waiting = waiting_for(handover->wait_ms);
	json_t *state, *before = NULL, *empty = NULL;
	json_int_t first = 0;
	bool failed = false;

	for (;;) {
		state = handover_state(handover, false, err);
		if (!state)
			break;
		show_progress(state, &first);
		if (is_empty(state) && is_quiet(state, before))
			empty = prove(handover, state, waiting_left_ms(&waiting) + GRACE_MS,
				      &failed, err);
		if (failed || empty || (before && waiting_left_ms(&waiting) == 0) ||
		    (is_paused(state) && handover_waiting(state) > 0) || !waiting_pause(POLL_MS))
			break;
		json_decref(before);
		before = state;
	}
	progress_end();
	json_decref(before);
	*proven = empty != NULL;
	if (state && !failed && !empty)
		return state;
	json_decref(state);
	return empty;
}

/* ---- writing it down ---- */

static bool record(const struct handover *handover, const json_t *state, struct error *err)
{
	char words[256];
	const char *params[] = {handover->table, words};
	const json_t *left = json_object_get(state, "left");
	PGresult *result;

	snprintf(words, sizeof(words),
		 "old side, last id %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
		 " events left, %" JSON_INTEGER_FORMAT " dead letters, %" JSON_INTEGER_FORMAT
		 " held",
		 json_integer_value(json_object_get(state, "last_id")), handover_waiting(state),
		 json_integer_value(json_object_get(left, "dead_letters")),
		 json_integer_value(json_object_get(left, "held")));
	result = pgsync_query(handover->conn, "recording the handover",
			      "SELECT outbox_relay.record_action($1::regclass, 'handover', $2)", 2,
			      params, err);
	PQclear(result);
	return result != NULL;
}

static void say_done(const struct handover *handover, const json_t *state)
{
	const json_t *left = json_object_get(state, "left");
	json_int_t letters = json_integer_value(json_object_get(left, "dead_letters")) +
			     json_integer_value(json_object_get(left, "held"));

	if (handover_waiting(state) == 0)
		fprintf(stderr, "%s is empty and paused; the last id is %" JSON_INTEGER_FORMAT "\n",
			handover->shown, json_integer_value(json_object_get(state, "last_id")));
	else
		say_left(handover, state);
	if (handover_waiting(state) > 0)
		fprintf(stderr, "%s is paused, and these events go with it\n", handover->shown);
	if (letters > 0)
		fprintf(stderr,
			"%" JSON_INTEGER_FORMAT
			" events lie in outbox_relay.dead_letters: see that "
			"they go with it\n",
			letters);
	fprintf(stderr, "on the new side: outbox-relay handover --new %s\n",
		handover->output ? handover->output
				 : "FILE (what --json has printed, or --above ID)");
}

/* Paused, with what is left; NULL and err if that is not to be had. */
static json_t *leave(struct handover *handover, const json_t *before, struct error *err)
{
	bool failed, paused;
	json_t *state;

	if (writers_of(before) > 0) {
		say_writers(before);
		error_set(err, "what is left cannot be recorded while somebody writes");
		return NULL;
	}
	paused = pause_it(handover, HAND_OVER_MS, &failed, err);
	if (failed)
		return NULL;
	state = handover_state(handover, true, err);
	if (!state)
		return NULL;
	if (paused && writers_of(state) == 0 && !waiting_is_stopped())
		return state;
	say_left(handover, state);
	pausing_print_owners(handover->owners);
	json_decref(state);
	error_set(
	    err, waiting_is_stopped() ? WAITING_STOPPED
		 : paused ? "somebody writes to the outbox; stop the application's writes"
			  : "a relay still owns shards and may publish; stop it, or wait until its "
			    "batch is settled");
	return NULL;
}

static void complete(const struct handover *handover, const json_t *state, json_t *out)
{
	json_object_set_new(out, "handover", json_integer(HANDOVER_FORM));
	json_object_set_new(out, "outbox", json_string(handover->shown));
	json_object_set_new(out, "settle",
			    json_string(config_settle_word(handover->config->outbox.settle)));
	json_object_set_new(out, "empty", json_boolean(is_empty(state)));
	json_object_update(out, (json_t *)state);
}

/* What is left after the time is over; the relays are to blame if nothing is. */
static void say_not_proven(const struct handover *handover, const json_t *state)
{
	bool owned = is_empty(state) && json_array_size(handover->owners) > 0;

	fputs("outbox-relay handover: ", stderr);
	if (waiting_is_stopped())
		fputs(WAITING_STOPPED, stderr);
	else if (owned)
		fprintf(stderr, "the relays of %s have not handed over", handover->shown);
	else
		fprintf(stderr, "%s is not empty", handover->shown);
	if (!waiting_is_stopped() && (!is_paused(state) || handover_waiting(state) == 0))
		fprintf(stderr, " after %.0f s", (double)handover->wait_ms / 1000);
	fputs(", and nothing has changed\n", stderr);
	if (owned)
		pausing_print_owners(handover->owners);
	else if (is_empty(state) && !waiting_is_stopped())
		fputs("ids are drawn all the time: stop the application's writes\n", stderr);
	say_left(handover, state);
}

/* Whatever has failed, the relays go on. */
static void undo(struct handover *handover)
{
	bool paused_it = handover->paused_it;
	struct error err;

	if (!resume_it(handover, &err))
		fprintf(stderr, "%s stays paused: %s; `outbox-relay resume` ends it\n",
			handover->shown, err.text);
	else if (paused_it)
		fprintf(stderr, "%s is resumed\n", handover->shown);
}

/* The state that is to be written down: proven to be empty, or left. NULL: what is wrong is said.
 */
static json_t *find(struct handover *handover, json_t *out)
{
	struct error err;
	bool proven;
	json_t *left, *state = drain(handover, &proven, &err);

	if (state && !proven && handover->record_left && !waiting_is_stopped()) {
		left = leave(handover, state, &err);
		json_decref(state);
		state = left;
		proven = true;
	}
	if (!state) {
		command_failed("handover", &err);
		return NULL;
	}
	complete(handover, state, out);
	if (proven)
		return state;
	say_not_proven(handover, state);
	json_decref(state);
	return NULL;
}

int handover_old(struct handover *handover, json_t *out)
{
	struct handover_file file;
	struct error err;
	json_t *state;
	bool good;

	waiting_catch_signals();
	if (!handover_file_open(&file, handover->output, &err))
		return command_failed("handover", &err);
	state = find(handover, out);
	good = state && handover_file_write(&file, out, &err) && record(handover, state, &err) &&
	       handover_file_keep(&file, &err);
	if (state && !good)
		command_failed("handover", &err);
	if (good)
		say_done(handover, state);
	else
		undo(handover);
	handover_file_close(&file);
	json_decref(state);
	return good ? EXIT_DONE : EXIT_FAILED;
}

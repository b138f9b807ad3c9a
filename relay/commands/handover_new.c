/* SPDX-License-Identifier: ISC */
/*
 * handover_new.c - `handover` on the new side: whether what the old side wrote down has arrived,
 * and no more; then ids above the old ones, and the relays may go on
 */
#include "commands.h"
#include "handover.h"
#include "pausing.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the document ---- */

static json_int_t number_of(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

static const json_t *waiting_of(const json_t *state)
{
	return json_object_get(json_object_get(state, "left"), "waiting");
}

static bool is_count(const json_t *object, const char *member)
{
	return json_is_integer(json_object_get(object, member)) && number_of(object, member) >= 0;
}

/* Whatever is read of it must be what it is to be: a number that is taken for 0 lets ids begin
 * anew. */
static bool is_document(const json_t *old)
{
	const json_t *left = json_object_get(old, "left"), *waiting = waiting_of(old),
		     *last = json_object_get(old, "last_id"),
		     *first = json_object_get(waiting, "first_id");

	return json_is_integer(json_object_get(old, "handover")) &&
	       number_of(old, "handover") == HANDOVER_FORM &&
	       json_is_string(json_object_get(old, "outbox")) &&
	       (is_count(old, "last_id") || json_is_null(last)) && is_count(left, "dead_letters") &&
	       is_count(left, "held") && is_count(waiting, "count") &&
	       json_is_true(json_object_get(waiting, "exact")) &&
	       (json_is_integer(first) ||
		(json_is_null(first) && number_of(waiting, "count") == 0));
}

static json_t *read_document(const struct handover *handover, struct error *err)
{
	json_error_t why;
	json_t *old = json_load_file(handover->from, 0, &why);

	if (!old) {
		error_set(err, "cannot read --new %s: %s", handover->from, why.text);
		return NULL;
	}
	if (is_document(old))
		return old;
	error_set(err,
		  "--new %s is no document of outbox-relay handover (of this version); "
		  "write it anew on the old side with --output",
		  handover->from);
	json_decref(old);
	return NULL;
}

/* ---- whether this is the place, and all is there ---- */

/* The same running server and database, as far as it tells. */
static bool is_same_place(const json_t *old, const json_t *state)
{
	static const char *const MEMBERS[] = {"system_identifier", "timeline", "database",
					      "started"};
	const json_t *there = json_object_get(old, "server"),
		     *here = json_object_get(state, "server");

	for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(MEMBERS[0]); i++) {
		const json_t *a = json_object_get(there, MEMBERS[i]);

		if (!json_is_string(a) || !json_equal(a, json_object_get(here, MEMBERS[i])))
			return false;
	}
	return true;
}

static bool check_waiting(const struct handover *handover, const json_t *old, struct error *err)
{
	json_int_t count, first, left = number_of(waiting_of(old), "count"),
				 left_first = number_of(waiting_of(old), "first_id");

	if (!handover_waiting_upto(handover, number_of(old, "last_id"), &count, &first, err))
		return false;
	if (count > left && handover->config->outbox.settle == SETTLE_POSITION)
		return error_set(
		    err,
		    "the old side left %" JSON_INTEGER_FORMAT " events from id "
		    "%" JSON_INTEGER_FORMAT " on, and %" JSON_INTEGER_FORMAT
		    " are here: published ones lie among them; hand over again once all is "
		    "published there, or have the owner run SELECT outbox_relay.set_position('%s', "
		    "'from', %" JSON_INTEGER_FORMAT "), which publishes those again",
		    left, left_first, count, handover->shown, left_first);
	if (count > left)
		return error_set(err,
				 "%" JSON_INTEGER_FORMAT
				 " events with ids of the old side wait here, the "
				 "first is %" JSON_INTEGER_FORMAT ", and the old side left "
				 "%" JSON_INTEGER_FORMAT ": the others are published and would be "
				 "published again; take them out of %s, and run this again",
				 count, first, left, handover->shown);
	if (count < left || (left > 0 && first != left_first))
		return error_set(
		    err,
		    "the old side left %" JSON_INTEGER_FORMAT " events that wait, the first "
		    "with id %" JSON_INTEGER_FORMAT ", and %" JSON_INTEGER_FORMAT " of "
		    "them are here; bring table %s here as it was, and run this again",
		    left, left_first, count, handover->shown);
	return true;
}

static bool check_letters(const json_t *old, const json_t *state, struct error *err)
{
	const json_t *there = json_object_get(old, "left"), *here = json_object_get(state, "left");
	json_int_t had = number_of(there, "dead_letters") + number_of(there, "held");
	json_int_t has = number_of(here, "dead_letters") + number_of(here, "held");

	return has >= had ||
	       error_set(err,
			 "the old side has %" JSON_INTEGER_FORMAT " events in "
			 "outbox_relay.dead_letters, and %" JSON_INTEGER_FORMAT " are here; bring "
			 "them here, or retry or discard them there and hand over again",
			 had, has);
}

/* It may have published what must not be published again, and has given ids below the old ones. */
static bool check_idle(const json_t *state, json_int_t last, struct error *err)
{
	const json_t *relay, *relays = json_object_get(state, "relays");
	const char *name;
	size_t i;

	if (number_of(state, "last_id") >= last)
		return true;
	json_array_foreach(relays, i, relay)
	{
		if (json_array_size(json_object_get(relay, "shards")) == 0)
			continue;
		name = json_string_value(json_object_get(relay, "application"));
		return error_set(
		    err,
		    "relay %s, session %" JSON_INTEGER_FORMAT ", is at work here while "
		    "ids are still those below the old ones; run `outbox-relay pause`, "
		    "and then this again",
		    name ? name : "unknown", number_of(relay, "pid"));
	}
	return true;
}

/* Before anything is done by what it says. */
static bool check_name(const struct handover *handover, const json_t *old, struct error *err)
{
	const char *name = json_string_value(json_object_get(old, "outbox"));

	return strcmp(name, handover->shown) == 0 ||
	       error_set(err, "--new %s is of outbox %s, and outbox.table is %s; fix one",
			 handover->from, name, handover->shown);
}

static bool check_document(const struct handover *handover, const json_t *old, const json_t *state,
			   struct error *err)
{
	if (is_same_place(old, state))
		return error_set(err,
				 "--new %s was written by this very server and database; lead "
				 "database.dsn to the new side",
				 handover->from);
	if (json_is_null(json_object_get(old, "last_id")) &&
	    !json_is_null(json_object_get(state, "last_id")))
		return error_set(
		    err,
		    "--new %s does not say the last id of the old side, whose ids came "
		    "from no sequence; give --above ID instead",
		    handover->from);
	return check_idle(state, number_of(old, "last_id"), err) &&
	       check_waiting(handover, old, err) && check_letters(old, state, err);
}

/* The state here, once it is what the document says. Positions are set in the same transaction, so
 * that nothing is changed where it is not. A standby begins this transaction, too, and its state
 * says what it is. NULL and err. */
static json_t *agree(const struct handover *handover, const json_t *old, json_t *out,
		     struct error *err)
{
	struct error ignored;
	json_t *state = NULL;

	if (!check_name(handover, old, err) ||
	    !pgsync_script(handover->conn, "taking over", "BEGIN", err))
		return NULL;
	if (handover_position(handover, old, out, err) &&
	    (state = handover_state(handover, false, err)) &&
	    check_document(handover, old, state, err) &&
	    handover_producers(handover, old, out, err) &&
	    pgsync_script(handover->conn, "taking over", "COMMIT", err))
		return state;
	pgsync_script(handover->conn, "taking over", "ROLLBACK", &ignored);
	json_object_del(out, "position_from");
	json_object_del(out, "producers");
	json_decref(state);
	return NULL;
}

/* ---- doing it ---- */

static bool raise_ids(const struct handover *handover, json_int_t above, json_t *out,
		      struct error *err)
{
	char number[32], words[64];
	const char *params[] = {handover->table, number, words};
	PGresult *result;

	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, above);
	snprintf(words, sizeof(words), "new side, ids above %s", number);
	result = pgsync_query(handover->conn, "setting the ids",
			      "SELECT outbox_relay.raise_letters(), "
			      "outbox_relay.raise_ids($1::regclass, $2, $3) AS last",
			      3, params, err);
	if (!result)
		return false;
	json_object_set_new(out, "last_id",
			    pgsync_text(result, 0, "last")
				? json_integer(pgsync_number(result, 0, "last"))
				: json_null());
	PQclear(result);
	return true;
}

static bool add_up(json_int_t a, json_int_t b, json_int_t *sum, struct error *err)
{
	return !__builtin_add_overflow(a, b, sum) ||
	       error_set(err, "there are no ids so high; give a smaller --above or --margin");
}

/* Above which id those of this side begin. */
static bool begin_at(const struct handover *handover, const json_t *old, const json_t *state,
		     json_int_t *above, struct error *err)
{
	json_int_t base = old ? number_of(old, "last_id") : handover->above;

	if (handover->relative)
		return add_up(number_of(state, "last_id"), handover->above, above, err);
	return add_up(base, handover->margin, above, err);
}

static void report(const struct handover *handover, const json_t *state, const json_t *out)
{
	const json_t *last = json_object_get(out, "last_id"),
		     *from = json_object_get(out, "position_from"),
		     *producers = json_object_get(out, "producers");

	if (from)
		fprintf(stderr,
			"events of %s with ids below %" JSON_INTEGER_FORMAT " count as published\n",
			handover->shown, json_integer_value(from));
	if (json_is_string(producers))
		fprintf(stderr,
			"%s has new producers, with nothing in doubt: give it another "
			"kafka.ledger_topic than on the old side\n",
			handover->shown);
	else if (json_is_null(producers))
		fprintf(stderr,
			"%s keeps the producers that it has; if its relays do not begin with "
			"them, see docs/runbooks/ledger-mismatch.md\n",
			handover->shown);
	if (json_is_integer(last))
		fprintf(stderr, "ids of %s go on above %" JSON_INTEGER_FORMAT "\n", handover->shown,
			json_integer_value(last));
	else
		fprintf(stderr,
			"ids of %s come from no sequence: see that they go on above the old "
			"ones\n",
			handover->shown);
	if (handover_waiting(state) > 0)
		fprintf(stderr, "%" JSON_INTEGER_FORMAT " events wait, and will be published\n",
			handover_waiting(state));
	if (handover->stay_paused)
		fprintf(stderr, "%s %s\n", handover->shown,
			json_is_true(json_object_get(state, "paused")) ? "stays paused"
								       : "is not paused");
	else
		fprintf(stderr, "%s is resumed\n", handover->shown);
}

static bool take_over(const struct handover *handover, const json_t *old, const json_t *state,
		      json_t *out, struct error *err)
{
	json_int_t above;

	json_object_set_new(out, "outbox", json_string(handover->shown));
	json_object_set(out, "last_id_before", json_object_get(state, "last_id"));
	json_object_set(out, "left", json_object_get(state, "left"));
	json_object_set(out, "paused", json_object_get(state, "paused"));
	if (!begin_at(handover, old, state, &above, err) || !raise_ids(handover, above, out, err))
		return false;
	return handover->stay_paused ||
	       pausing_set(handover->conn, handover->table, handover->shown, false, out, err);
}

int handover_new(const struct handover *handover, json_t *out)
{
	struct error err;
	json_t *old = NULL, *state;
	bool good;

	if (handover->from && !(old = read_document(handover, &err))) {
		fprintf(stderr, "outbox-relay handover: %s\n", err.text);
		return EXIT_USAGE;
	}
	state = old ? agree(handover, old, out, &err) : handover_state(handover, false, &err);
	good = state && take_over(handover, old, state, out, &err);
	if (good)
		report(handover, state, out);
	else
		command_failed("handover", &err);
	json_decref(old);
	json_decref(state);
	return good ? EXIT_DONE : EXIT_FAILED;
}

/* SPDX-License-Identifier: ISC */
/*
 * check_letters.c - what is set aside: nothing goes out past it, and what is asked for is done
 */
#include "sim.h"

/* A relay without a session may not know what has come of its rows. */
static bool knows(const struct relay *relay)
{
	return relay->session.backend != NULL && relay->session.answer_count == 0;
}

static bool lies_before(const struct row *other, const struct row *row)
{
	bool waits =
	    other->letter.parked || (other->letter.for_topic && other->topic == row->topic);
	if (other->state != ROW_LETTER || !waits || other->key != row->key)
		return false;
	return row->state != ROW_LETTER || other->letter.number < row->letter.number;
}

/* What goes with it in the same transaction is in order by itself (check_order). */
static void check_passes_none(struct relay *relay, unsigned index)
{
	struct sim *sim = relay->sim;
	const struct backend *backend = relay->session.backend;

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if (i != index && !(backend->deleted & ROW_BIT(i)) &&
		    lies_before(&sim->db.rows[i], &sim->db.rows[index]))
			violated(sim, "publishes past a letter", "row %u past row %u", index, i);
}

void check_letter_produced(struct relay *relay, unsigned index)
{
	struct sim *sim = relay->sim;
	const struct row *row = &sim->db.rows[index];

	if (!sim->plan.letters || !knows(relay))
		return;
	if (row->state == ROW_REMOVED)
		violated(sim, "publishes what was discarded", "row %u", index);
	check_passes_none(relay, index);
	if (row->state != ROW_LETTER)
		return;
	if (!row->letter.attempted)
		violated(sim, "publishes a letter that is not marked", "row %u", index);
	if ((row->letter.wants & (WANTS_EDIT | WANTS_DISCARD)) &&
	    row->letter.wanted_us < relay->session.backend->begun_us)
		violated(sim, "publishes what is to be changed", "row %u", index);
}

/* A retry that was asked for is over once it was tried since: published, or rejected again. */
void check_request_gone(struct sim *sim, const struct backend *backend, unsigned index,
			bool rejected)
{
	const struct row *row = &sim->db.rows[index];

	if (!rejected ||
	    sim->relays[backend->relay].process.lettered_us[index] < row->letter.wanted_us)
		violated(sim, "forgets what was asked for", "row %u", index);
}

/* Rows and letters have their turns. */
void check_letters_passed(struct session *session)
{
	session->letters_passed = session->letters_are_due ? session->letters_passed + 1 : 0;
	if (session->letters_passed > 1)
		violated(session->relay->sim, "lets letters wait", "relay %u, for %u claims",
			 session->relay->index, session->letters_passed);
}

/* Operators' notifications may be lost with a session; then housekeeping sees what is due. */
void check_letters_sleep(struct relay *relay, int64_t looked_us, int64_t to_us)
{
	struct sim *sim = relay->sim;
	const struct poll_options *options = &relay->process.poll_options;
	const struct ask any = {.claim = {.rows = 1, .bytes = 100},
				.shards = session_owned(&relay->session),
				.out = letters_out(&relay->session)};
	int64_t since = sim->lettered_us > looked_us ? sim->lettered_us : looked_us;

	for (unsigned t = 0; t < TOPICS; t++)
		if (relay->session.topic_until_us[t] <= sim->now_us &&
		    relay->session.topic_until_us[t] > since)
			since = relay->session.topic_until_us[t];
	if (!sim->plan.letters || relay->session.backend == NULL ||
	    letters_due(sim, relay->session.backend, &any) == 0)
		return;
	if (to_us - since > options->housekeep_us + options->poll_us + 200 * MS)
		violated(sim, "sleeps on a letter", "relay %u for %lld ms", relay->index,
			 (long long)(to_us - since) / MS);
}

/* SPDX-License-Identifier: ISC */
/*
 * letters.c - a session's part in what was set aside: what outbox/letters.c does around its
 * statements
 */
#include "sim.h"

/* As in outbox/letters.c. */
enum { TOPIC_US = 4 * 1000 * 1000 };

static struct sim *sim_of(const struct session *session)
{
	return session->relay->sim;
}

/* Some may be due. */
void letters_begin(struct session *session)
{
	session->letters_are_due = sim_of(session)->plan.letters;
}

/* They may be: an operator has asked for something, or the shards have changed. */
void letters_look(struct session *session)
{
	session->letters_are_due = session->letters_asked = sim_of(session)->plan.letters;
}

/* What poll is told. */
bool letters_wanted(const struct session *session)
{
	bool ahead = session->poll.state == POLL_SETTLING;

	if (ahead && sim_of(session)->plant == PLANT_LETTERS_PASSED)
		return false;
	return session->letters_are_due;
}

void letters_notified(struct session *session)
{
	letters_look(session);
	session_polled(session, POLL_RELEASED);
}

void letters_lost(struct session *session)
{
	session->letters_are_due = session->letters_asked = session->letters_ours = false;
}

/* ---- topics that could not be used ---- */

static uint32_t topics(const struct session *session, bool tried)
{
	int64_t now = sim_of(session)->now_us;
	uint32_t some = 0;

	for (unsigned t = 0; t < TOPICS; t++)
		if (session->topic_until_us[t] != 0 && (now >= session->topic_until_us[t]) == tried)
			some |= 1u << t;
	return some;
}

uint32_t letters_out(const struct session *session)
{
	return topics(session, false);
}

void letters_settled(struct session *session)
{
	for (unsigned t = 0; t < TOPICS && session->letters_claimed; t++)
		if (sim_of(session)->now_us >= session->topic_until_us[t])
			session->topic_until_us[t] = 0;
	session->letters_claimed = false;
}

/* Rows are set aside; letters stay as they are. */
static void defer(struct session *session, struct ask *ask, const struct batch *batch)
{
	const struct sim *sim = sim_of(session);
	bool forgotten = sim->plant == PLANT_LANE_FORGOTTEN;
	struct batch_walk walk;

	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk)) {
		unsigned row = event_row(e), topic = sim->db.rows[row].topic;
		if (e->state != EVENT_DEFERRED)
			continue;
		session->topic_until_us[topic] = forgotten ? NEVER : sim->now_us + TOPIC_US;
		if (e->letter == 0 || sim->plant == PLANT_DEFERRED_UNPARKED)
			ask->deferred |= ROW_BIT(row);
	}
}

/* ---- asking ---- */

static void ask(struct session *session, enum ask_kind kind, const struct claim *claim)
{
	struct ask *added = session_ask(session, kind);

	if (added == NULL)
		return;
	added->claim = *claim;
	added->shards = session_owned(session);
	added->out = topics(session, false);
	added->tried = topics(session, true);
}

void letters_ask(struct session *session, const struct claim *claim)
{
	session->letters_asked = false;
	session->letters_ours = true;
	session->letters_passed = 0;
	session->letters_tried = topics(session, true);
	ask(session, ASK_LETTERS_EDIT, claim);
	ask(session, ASK_LETTERS_DISCARD, claim);
	ask(session, ASK_LETTERS_ATTEMPT, claim);
	struct ask *begins = session_ask(session, ASK_BEGIN);
	session->in_transaction = true;
	if (begins != NULL)
		begins->immediate = session->guarded;
	ask(session, ASK_LETTERS_CLAIM, claim);
}

void letters_claimed(struct session *session, uint64_t rows)
{
	const struct sim *sim = sim_of(session);
	unsigned counts[TOPICS] = {0};

	for (unsigned i = 0; i < sim->db.row_count; i++)
		if ((rows & ROW_BIT(i)) && sim->db.rows[i].letter.for_topic)
			counts[sim->db.rows[i].topic]++;
	for (unsigned t = 0; t < TOPICS; t++)
		if ((session->letters_tried & 1u << t) && counts[t] > 1)
			violated(sim_of(session), "tries a topic with many letters", "%u",
				 counts[t]);
	session->letters_are_due = rows != 0 || session->letters_asked;
	session->letters_claimed = rows != 0;
}

void letters_counted(struct session *session, bool due)
{
	session->letters_are_due |= due;
}

static uint64_t letters_in(const struct batch *batch, enum event_state state)
{
	struct batch_walk walk;
	uint64_t rows = 0;

	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == state && e->letter != 0)
			rows |= ROW_BIT(event_row(e));
	return rows;
}

/* Of a claim whose session is gone nothing is known of what is asked for by now. */
void letters_settle(struct session *session, struct ask *ask, const struct batch *batch)
{
	const struct sim *sim = sim_of(session);
	bool forgets = sim->plant == PLANT_LETTER_FORGOTTEN && session->was_lost;

	defer(session, ask, batch);
	ask->rejected |= ask->deferred;
	ask->returned |= ask->deferred;
	ask->published = forgets ? 0 : letters_in(batch, EVENT_DELIVERED);
	if (session->letters_ours || sim->plant == PLANT_REJECT_LATE)
		ask->kept = letters_in(batch, EVENT_REJECTED);
}

/* SPDX-License-Identifier: ISC */
/*
 * adopt_published.c - which rows of an existing table are published already
 *
 * A column that says so is found by its name and type, and its rows tell the rest. In mark mode the
 * relay goes on with the column: it reads it, and sets it. Where rows are deleted or stay, what the
 * column says becomes outbox.where. What is not plain is left to the table's owner.
 */
#include "adopt.h"
#include "adopt_values.h"

#include "base/xalloc.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FLAGS_MAX = 8 };

/* A column that says which rows are published. */
struct flag {
	const struct adopt_column *column;
	enum adopt_says says;
	char *done; /* owned: the condition */
	bool met;   /* a row meets it */
	bool any;   /* likewise, or has a status that is not known */
};

struct search {
	PGconn *conn;
	const struct adopt_facts *facts;
	const struct adopt_choice *choice;
	const char *events; /* the condition under which a row is one */
	char table[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE];
	struct flag flags[FLAGS_MAX];
	size_t count;
	const struct adopt_column *unsure; /* the first whose name may say so, and the contrary */
};

/* 1 if a row meets the condition, 0 if none does; -1 and err if that cannot be asked. */
static int any_row(const struct search *search, const char *condition, struct error *err)
{
	char *sql = xasprintf("SELECT EXISTS (SELECT FROM %s WHERE (%s) AND (\n%s\n)) AS any_row",
			      search->table, condition, search->events);
	PGresult *result =
	    pgsync_query(search->conn, "looking for rows that were handled", sql, 0, NULL, err);
	int any = result ? pgsync_bool(result, 0, "any_row") : -1;

	free(sql);
	PQclear(result);
	return any;
}

static bool is_mapped(const char *name, const struct config_columns *mapped, int settle)
{
	bool found = (settle == SETTLE_MARK && strcmp(name, mapped->published_at) == 0) ||
		     (settle == SETTLE_POSITION && strcmp(name, "x") == 0);

	for (int role = 0; role < ADOPT_ROLES; role++)
		found = found || strcmp(adopt_configured(mapped, (enum adopt_role)role), name) == 0;
	return found;
}

/* ---- words ---- */

static void warn(const struct search *search)
{
	for (size_t i = 0; i < search->count; i++)
		fprintf(stderr,
			"warning: column %s of table %s seems to say which rows were handled; the "
			"relay does not read it and publishes each row\n",
			search->flags[i].column->name, search->shown);
	if (search->unsure)
		fprintf(stderr,
			"warning: column %s of table %s may say which rows were handled; the relay "
			"does not read it\n",
			search->unsure->name, search->shown);
}

#define CHOICES                                                                                    \
	"say which rows are published with --adopt --published-where CONDITION, or that the "      \
	"column means something else with --ignore-flag; or delete these rows or move them to "    \
	"another table, then migrate again"

static bool refuse(const struct search *search, const struct flag *flag, const char *why,
		   struct error *err)
{
	const char *colon = *why ? ": " : "", *name = flag->column->name;

	if (!flag->met)
		return error_set(err,
				 "column %s of table %s may say which rows were handled already, "
				 "and the relay would publish them again%s%s; " CHOICES,
				 name, search->shown, colon, why);
	return error_set(err,
			 "column %s of table %s says that some rows were handled already (WHERE "
			 "%s), and the relay would publish them again%s%s; " CHOICES,
			 name, search->shown, flag->done, colon, why);
}

/* ---- what the column has ---- */

/* Which value says what, in a status or a flag that is no boolean. */
static bool tell_values(const struct search *search, const struct flag *flag,
			struct adopt_published *published, struct error *err)
{
	struct adopt_values values;
	char *why = NULL;

	if (!adopt_values_read(search->conn, &values, search->facts, flag->column, search->events,
			       err))
		return false;
	adopt_values_tell(&values, &published->published_value, &published->pending_value, &why);
	adopt_values_free(&values);
	if (why)
		refuse(search, flag, why, err);
	free(why);
	return published->published_value != NULL;
}

/* ---- which columns ---- */

/* "status", and not "order_status": its words are of publishing, known or not. */
static bool is_bare_status(const struct adopt_column *column)
{
	static const char *const names[] = {"status", "state", "stage", "phase"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(column->name, names[i]) == 0)
			return true;
	return false;
}

/* Whether a row has another word than those that are known: -1 and err if that cannot be asked. */
static int any_unclear(const struct search *search, const struct flag *flag, struct error *err)
{
	struct adopt_values values;
	int any;

	if (flag->says != ADOPT_STATUS || !is_bare_status(flag->column))
		return 0;
	if (!adopt_values_read(search->conn, &values, search->facts, flag->column, search->events,
			       err))
		return -1;
	any = adopt_values_unclear(&values) != NULL;
	adopt_values_free(&values);
	return any;
}

static bool find_flag(struct search *search, const struct adopt_column *column, struct error *err)
{
	struct flag flag = {.column = column, .says = adopt_says(column)};
	int met, odd = 0;

	if (flag.says == ADOPT_UNSURE && !search->unsure)
		search->unsure = column;
	if (flag.says == ADOPT_UNSURE || flag.says == ADOPT_NOTHING || search->count == FLAGS_MAX)
		return true;
	flag.done = adopt_done_condition(column);
	met = any_row(search, flag.done, err);
	if (met == 0)
		odd = any_unclear(search, &flag, err);
	flag.met = met > 0;
	flag.any = met > 0 || odd > 0;
	search->flags[search->count++] = flag;
	return met >= 0 && odd >= 0;
}

static bool find_flags(struct search *search, const struct config_columns *mapped, int settle,
		       struct error *err)
{
	for (size_t i = 0; i < search->facts->count; i++) {
		const struct adopt_column *column = &search->facts->columns[i];

		if (!is_mapped(column->name, mapped, settle) && !find_flag(search, column, err))
			return false;
	}
	return true;
}

/* ---- what follows ---- */

static bool is_timed(const struct adopt_column *column)
{
	return strcmp(column->type, "timestamptz") == 0 || strcmp(column->type, "timestamp") == 0;
}

static bool is_inverse(const struct flag *flag)
{
	return flag->says == ADOPT_WAITS;
}

/* 1 is published, but 2? */
static bool check_numbers(const struct search *search, const struct flag *flag, struct error *err)
{
	char quoted[PGNAME_QUOTED_SIZE], *others;
	int any;

	if (flag->column->category != 'N' || !flag->any)
		return true;
	if (flag->says == ADOPT_STATUS)
		return refuse(search, flag, "nothing tells what its numbers mean", err);
	pgname_quote(flag->column->name, quoted);
	others = xasprintf("%s NOT IN (0, 1)", quoted);
	any = any_row(search, others, err);
	free(others);
	return any > 0 ? refuse(search, flag, "it has other numbers than 0 and 1", err) : any == 0;
}

/* 1 if a row that leaves the column out counts as published; -1 and err if that cannot be told. A
 * default that calls a function is not evaluated: that might change something. */
static int preset_is_done(const struct search *search, const struct flag *flag, struct error *err)
{
	const char *preset = flag->column->preset;
	char quoted[PGNAME_QUOTED_SIZE], *sql;
	PGresult *result;
	int done;

	if (!preset || strncmp(preset, "NULL", 4) == 0)
		return 0;
	if (flag->column->category == 'D')
		return 1;
	if (strchr(preset, '('))
		return refuse(search, flag, "nothing tells what its default gives", err) - 1;
	pgname_quote(flag->column->name, quoted);
	sql = xasprintf("SELECT coalesce(%s, false) AS done FROM (SELECT %s AS %s) AS new_row",
			flag->done, preset, quoted);
	result = pgsync_query(search->conn, "looking at a default", sql, 0, NULL, err);
	done = result ? pgsync_bool(result, 0, "done") : -1;
	free(sql);
	PQclear(result);
	return done;
}

/* Rows to come are to wait, though nobody sets the column. */
static bool check_new_rows(const struct search *search, const struct flag *flag, struct error *err)
{
	const struct adopt_column *column = flag->column;
	char why[PGNAME_SIZE + 256];
	int done = preset_is_done(search, flag, err);

	if (done < 0)
		return false;
	if (done == 0 && column->category == 'D' && column->not_null)
		return refuse(search, flag, "it is never NULL, so that no row would be published",
			      err);
	snprintf(why, sizeof(why), "it has the default %s, so that no new row would be published",
		 done > 0 ? column->preset : "");
	return done == 0 || refuse(search, flag, why, err);
}

static void say(const struct search *search, const struct flag *flag,
		const struct adopt_published *published)
{
	fprintf(stderr,
		"adopting %s: rows WHERE %s count as published, and are not published again; ",
		search->shown, flag->done);
	if (published->column)
		fprintf(stderr, "the relay goes on with column %s\n", published->column);
	else
		fprintf(stderr, "outbox.where leaves them alone\n");
	if (search->unsure)
		fprintf(stderr, "warning: the relay does not read column %s of table %s\n",
			search->unsure->name, search->shown);
	for (size_t i = 0; published->column && i < search->count; i++)
		if (search->flags[i].column != flag->column)
			fprintf(stderr,
				"warning: column %s of table %s says the same, and the relay does "
				"not set it\n",
				search->flags[i].column->name, search->shown);
}

static bool mark_by(const struct search *search, const struct flag *flag,
		    struct adopt_published *published, struct error *err)
{
	const struct adopt_column *column = flag->column;
	bool good = true;

	if (strcmp(column->type, "date") == 0)
		return refuse(search, flag, "a date cannot be set by the relay", err);
	if (is_inverse(flag) ||
	    (strcmp(column->type, "bool") == 0 && strcmp(column->name, "published_at") == 0))
		published->published_value = xstrdup(is_inverse(flag) ? "false" : "true");
	else if (!is_timed(column) && strcmp(column->type, "bool") != 0)
		good = tell_values(search, flag, published, err);
	if (good)
		published->column = xstrdup(column->name);
	return good;
}

static bool leave_alone(const struct search *search, const struct flag *flag,
			struct adopt_published *published, struct error *err)
{
	const struct adopt_column *column = flag->column;
	char quoted[PGNAME_QUOTED_SIZE], *literal;

	pgname_quote(column->name, quoted);
	if (strcmp(column->type, "timestamptz") == 0 || strcmp(column->type, "timestamp") == 0 ||
	    strcmp(column->type, "date") == 0) {
		published->where = xasprintf("%s IS NULL", quoted);
	} else if (strcmp(column->type, "bool") == 0 || column->category == 'N') {
		published->where = xasprintf("(%s) IS NOT TRUE", flag->done);
	} else {
		if (!tell_values(search, flag, published, err))
			return false;
		literal = pgname_literal(published->pending_value);
		published->where =
		    xasprintf("%s =%s%s", quoted, *literal == ' ' ? "" : " ", literal);
		free(literal);
		free(published->published_value);
		free(published->pending_value);
		published->published_value = published->pending_value = NULL;
	}
	return true;
}

/* Whether two columns say the same of all rows. */
static bool agree(const struct search *search, const struct flag *a, const struct flag *b,
		  struct error *err)
{
	char *sql = xasprintf("coalesce(%s, false) <> coalesce(%s, false)", a->done, b->done);
	int differ = any_row(search, sql, err);
	char why[2 * PGNAME_SIZE + 64];

	free(sql);
	if (differ == 0)
		return true;
	snprintf(why, sizeof(why), "column %s says something else of some rows", b->column->name);
	return differ > 0 ? refuse(search, a, why, err) : false;
}

/* How much a column tells: a time says when, too. */
static int worth(const struct flag *flag)
{
	return is_timed(flag->column) ? 3 : strcmp(flag->column->type, "bool") == 0 ? 2 : 1;
}

static struct flag *choose(struct search *search, struct error *err)
{
	struct flag *best = &search->flags[0];

	for (size_t i = 1; i < search->count; i++)
		if (worth(&search->flags[i]) > worth(best))
			best = &search->flags[i];
	for (size_t i = 0; i < search->count; i++)
		if (&search->flags[i] != best && !agree(search, best, &search->flags[i], err))
			return NULL;
	return best;
}

static const struct flag *any_set(const struct search *search)
{
	for (size_t i = 0; i < search->count; i++)
		if (search->flags[i].any)
			return &search->flags[i];
	return NULL;
}

static bool take_up(struct search *search, struct adopt_published *published, struct error *err)
{
	const struct flag *set = any_set(search), *flag;

	if (search->choice->free && set)
		published->settle = SETTLE_MARK;
	if (!set && published->settle != SETTLE_MARK) {
		warn(search);
		return true;
	}
	if (!set && search->count > 1) {
		warn(search);
		return true;
	}
	flag = choose(search, err);
	if (!flag || !check_numbers(search, flag, err) || !check_new_rows(search, flag, err))
		return false;
	if (published->settle == SETTLE_MARK ? !mark_by(search, flag, published, err)
					     : !leave_alone(search, flag, published, err))
		return false;
	say(search, flag, published);
	return true;
}

/* Where no other column tells. */
static bool check_unsure(const struct search *search, struct error *err)
{
	struct flag flag = {.column = search->unsure};
	char quoted[PGNAME_QUOTED_SIZE], *condition;
	int any;

	pgname_quote(flag.column->name, quoted);
	condition = xasprintf("%s IS NOT NULL", quoted);
	any = any_row(search, condition, err);
	free(condition);
	if (any == 0)
		warn(search);
	return any > 0 ? refuse(search, &flag, "its name does not tell which", err) : any == 0;
}

static bool find(struct search *search, const struct config_columns *mapped,
		 struct adopt_published *published, struct error *err)
{
	if (!find_flags(search, mapped, published->settle, err))
		return false;
	if (search->count == 0 && search->unsure)
		return check_unsure(search, err);
	if (search->count == 0)
		return true;
	if (search->choice->adopts)
		return take_up(search, published, err);
	if (any_set(search))
		return refuse(search, any_set(search), "", err);
	warn(search);
	return true;
}

char *adopt_parenthesize(const char *condition)
{
	return xasprintf(strstr(condition, "--") ? "(%s\n)" : "(%s)", condition);
}

bool adopt_published_find(PGconn *conn, const struct adopt_facts *facts,
			  const struct config_columns *mapped, const struct adopt_choice *choice,
			  struct adopt_published *published, struct error *err)
{
	struct search search = {.conn = conn,
				.facts = facts,
				.choice = choice,
				.events = *choice->events ? choice->events : "true"};
	bool good = true;

	pgname_print(&facts->table, search.table);
	pgname_show(&facts->table, search.shown);
	if (choice->where) {
		char *own = adopt_parenthesize(choice->where);

		published->where = xasprintf("%s IS NOT TRUE", own);
		free(own);
		fprintf(stderr, "adopting %s: rows WHERE %s count as published\n", search.shown,
			choice->where);
	} else if (!choice->ignores) {
		good = find(&search, mapped, published, err);
	}
	for (size_t i = 0; i < search.count; i++)
		free(search.flags[i].done);
	return good;
}

bool adopt_published_ask(PGconn *conn, const struct adopt_facts *facts, const char *id,
			 const char *title, struct error *err)
{
	struct search search = {.conn = conn, .facts = facts, .events = "true"};
	int any;

	pgname_print(&facts->table, search.table);
	pgname_show(&facts->table, search.shown);
	any = any_row(&search, "true", err);
	if (any <= 0)
		return any == 0;
	return error_set(
	    err,
	    "table %s holds rows, and nothing in %s tells which of them were published; say it "
	    "with --published-where and a condition that no row to come meets, such as \"%s <= "
	    "1000\", "
	    "or that none was with --ignore-flag; or delete what was published",
	    search.shown, title, adopt_find(facts, id) ? id : "created_at");
}

void adopt_published_free(struct adopt_published *published)
{
	free(published->column);
	free(published->published_value);
	free(published->pending_value);
	free(published->where);
}

/* SPDX-License-Identifier: ISC */
/*
 * migrate.c - the command `migrate`: applies or prints the SQL, and adopts existing
 * tables
 */
#include "adoption.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "commands.h"
#include "outbox/migrations.h"
#include "outbox/sql_files.h"
#include "postgres.h"
#include "waiting.h"
#include "warnings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] =
    "Usage: outbox-relay migrate [-c FILE] [options]\n"
    "\n"
    "Makes what the relay needs in the database: the schema outbox_relay, the outbox table if "
    "there\n"
    "is none, the bell, roles and grants. May be run at any time; what exists stays as it is.\n"
    "All of it is one transaction under a lock.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --dsn DSN       connect with this instead of database.dsn: as the owner of the table\n"
    "                      (the relay's own role must not own anything). A password is better\n"
    "                      kept out of it: libpq also reads PGPASSWORD, ~/.pgpass, PGPASSFILE\n"
    "      --table TABLE   this table instead of outbox.table\n"
    "      --partitions N  a new table gets N partitions (2 to 256) by hash of the key, for "
    "several\n"
    "                      relays to share. A table that exists must have as many; without this\n"
    "                      option one that is partitioned is taken as it is\n"
    "      --partition-by id:N | created_at:Nh | created_at:Nd\n"
    "                      a new table gets partitions of so many ids, hours or days each, which "
    "the\n"
    "                      relay makes ahead and drops when they are published; with\n"
    "                      --partitions by hash first. A table that exists must be partitioned so\n"
    "      --role ROLE     the relay's role of this outbox instead of outbox_relay, ROLE_writer\n"
    "                      instead of outbox_writer and ROLE_operator instead of "
    "outbox_operator,\n"
    "                      so that services in one database share no rights. Without it an\n"
    "                      outbox keeps the roles it has\n"
    "      --print         write the SQL to stdout as one script and connect to nothing\n"
    "      --uninstall     with --print: the script that takes this outbox from the relay again,\n"
    "                      and with the last outbox the relay's own objects. It keeps the outbox\n"
    "                      table, and all that migrate has not made\n"
    "      --adopt         make an existing outbox table one the relay can use, and print the\n"
    "                      block for the configuration. With --print it connects to read the\n"
    "                      table, and writes what it would do. A column such as processed,\n"
    "                      sent_at or status that says which rows are published is found, and\n"
    "                      those are not published again\n"
    "      --like NAME     with --adopt: the table is that of a framework, such as debezium or\n"
    "                      django-outbox-pattern; docs/frameworks.md lists them\n"
    "      --order-by COLUMNS\n"
    "                      with --adopt: the order of the present rows, where the database has\n"
    "                      not numbered them, instead of by time and transaction\n"
    "      --published-where CONDITION\n"
    "                      with --adopt: rows that meet it are published already, whatever\n"
    "                      columns seem to say\n"
    "      --ignore-flag   no row is published already, whatever columns seem to say\n"
    "  -h, --help          this text\n"
    "\n"
    "Without a file, --table and --dsn (or --print) are enough. Rows are then settled as the "
    "table\n"
    "was migrated for, at first (and in what --print writes) by deleting them.\n"
    "\n"
    "Locks: making the trigger waits for transactions that have written to the table, and writers\n"
    "wait meanwhile; it is done once. --adopt of a table that the database does not number adds a\n"
    "column and numbers the rows in steps, while others go on writing. Any lock is waited for 2\n"
    "seconds at a time (half a second in these steps), and given up after several\n"
    "times; if it does not come, nothing has changed.\n";

/* One number for all databases and tables: "outbox" in hex. */
#define MIGRATE_LOCK "122550254464888"

/* Of 2 seconds each, with one second in between. */
enum { LOCK_TRIES = 5 };

/* Each partition costs the relay that owns it a statement per claim. */
enum { PARTITIONS_MIN = 2, PARTITIONS_MAX = 256 };

/* A role's name with this behind it is one, too (sql/0006_operator.sql). */
#define OPERATOR "_operator"
enum { ROLE_MAX = PGNAME_SIZE - sizeof(OPERATOR) };

static int parse_options(int argc, char **argv, struct request *request)
{
	const struct command_flag flags[] = {
	    {"dsn", NULL, command_take_text, &request->dsn},
	    {"table", NULL, command_take_text, &request->table},
	    {"partitions", NULL, command_take_text, &request->target.partitions},
	    {"partition-by", NULL, command_take_text, &request->target.partition_by},
	    {"role", NULL, command_take_text, &request->target.role},
	    {"print", &request->print, NULL, NULL},
	    {"uninstall", &request->uninstall, NULL, NULL},
	    {"adopt", &request->adopt, NULL, NULL},
	    {"like", NULL, command_take_text, &request->like_name},
	    {"order-by", NULL, command_take_text, &request->order_by},
	    {"published-where", NULL, command_take_text, &request->published_where},
	    {"ignore-flag", &request->ignore_flag, NULL, NULL},
	    {0}};

	return command_options(argc, argv, HELP, &request->path, flags);
}

static int usage(const char *text)
{
	fprintf(stderr, "outbox-relay migrate: %s\n", text);
	return EXIT_USAGE;
}

static bool is_number_of_partitions(const char *text)
{
	int64_t ignored;

	return strlen(text) < 4 &&
	       units_parse_number(text, PARTITIONS_MIN, PARTITIONS_MAX, &ignored);
}

/* "id:N", "created_at:Nh" or "created_at:Nd", without leading zeros. */
static bool is_range(const char *text)
{
	bool by_id = strncmp(text, "id:", 3) == 0;
	const char *number = text + (by_id ? 3 : strlen("created_at:"));
	size_t digits;

	if (!by_id && strncmp(text, "created_at:", strlen("created_at:")) != 0)
		return false;
	digits = strspn(number, "0123456789");
	if (digits == 0 || *number == '0')
		return false;
	if (by_id)
		return digits < 16 && !number[digits];
	return digits < 5 && (number[digits] == 'h' || number[digits] == 'd') &&
	       !number[digits + 1];
}

/* The roles of "outbox" would be outbox_writer and outbox_operator, which are those of
 * outbox_relay. */
static bool is_role(const char *text)
{
	return *text != '\0' && strlen(text) <= ROLE_MAX && strcmp(text, "outbox") != 0;
}

/* Whether the options go together; -1 if they do. */
static int judge(const struct request *request)
{
	const char *partitions = request->target.partitions;
	const char *range = request->target.partition_by;

	if (!request->adopt &&
	    (request->like_name || request->order_by || request->published_where))
		return usage("--like, --order-by and --published-where go with --adopt");
	if (request->published_where && request->ignore_flag)
		return usage("--published-where says which rows are published, --ignore-flag that "
			     "none is: give one of them");
	if (request->uninstall && (!request->print || request->adopt || partitions || range))
		return usage("--uninstall goes with --print only: it is run by hand");
	if (request->uninstall && request->target.role)
		return usage("--uninstall knows the roles of the outbox: leave --role out");
	if (request->target.role && !is_role(request->target.role)) {
		fprintf(stderr,
			"outbox-relay migrate: --role \"%s\" must have 1 to %d bytes, as its "
			"operators are called ROLE" OPERATOR ", and not be \"outbox\", whose "
			"operators are those of outbox_relay\n",
			request->target.role, ROLE_MAX);
		return EXIT_USAGE;
	}
	if (partitions && !is_number_of_partitions(partitions)) {
		fprintf(stderr,
			"outbox-relay migrate: --partitions \"%s\" is no number from %d to %d\n",
			partitions, PARTITIONS_MIN, PARTITIONS_MAX);
		return EXIT_USAGE;
	}
	if (range && !is_range(range)) {
		fprintf(stderr,
			"outbox-relay migrate: --partition-by \"%s\" is none of id:N, "
			"created_at:Nh and created_at:Nd, as in id:10000000 or created_at:1d\n",
			range);
		return EXIT_USAGE;
	}
	if ((partitions || range) && request->adopt)
		return usage(
		    "--partitions and --partition-by make a new table, --adopt takes one that "
		    "exists: "
		    "give one of them");
	return -1;
}

/* Fills in what the options leave to the configuration; -1 to go on. */
static int complete(struct request *request)
{
	bool connects = !request->print || request->adopt;
	bool enough;
	struct error err;

	if (request->like_name && !adoption_choose_like(request))
		return EXIT_USAGE;
	request->columns = adoption_standard;
	request->target.where = request->target.published_value = request->target.pending_value =
	    "";
	if (request->like && !request->table && !request->path)
		request->table = request->like->table;
	enough = request->table && (request->dsn || !connects);
	if (request->path || !enough || access(COMMAND_CONFIG_FILE, F_OK) == 0) {
		request->config =
		    command_config(request->path ? request->path : COMMAND_CONFIG_FILE);
		if (!request->config)
			return EXIT_USAGE;
		request->columns = request->config->outbox.columns;
		request->target.settle = request->config->outbox.settle;
		request->target.published_value = request->config->outbox.published_value;
		request->target.pending_value = request->config->outbox.pending_value;
		request->target.where = request->config->outbox.where;
		if (!request->table)
			request->table = request->config->outbox.table;
	}
	if (request->like)
		adoption_take_like(request);
	if (request->published_where && !config_where_check(request->published_where, &err))
		return usage(err.text);
	if (!pgname_parse(request->table, &request->target.outbox, &err) ||
	    !pgname_check(&request->target.outbox, &err))
		return usage(err.text);
	request->target.id = request->columns.id;
	request->target.event_id = request->columns.event_id;
	request->target.published = request->columns.published_at;
	return -1;
}

static int print_script(char *script, const struct error *err)
{
	if (!script)
		return command_failed("migrate", err);
	fputs(script, stdout);
	free(script);
	return EXIT_DONE;
}

/* The configuration block as the head of a printed script. */
static void print_commented(const char *text)
{
	const char *end;

	fputs("-- For the configuration file:\n--\n", stdout);
	for (; *text; text = *end ? end + 1 : end) {
		end = strchrnul(text, '\n');
		printf("--     %.*s\n", (int)(end - text), text);
	}
	fputs("\n", stdout);
}

/* 1 if the schema has this table, 0 if not; -1 and err if that is unknown. */
static int has_table(PGconn *conn, const char *name, struct error *err)
{
	PGresult *result = pgsync_query(
	    conn, "looking for the relay's schema",
	    "SELECT FROM pg_class WHERE oid = to_regclass('outbox_relay.' || $1)", 1, &name, err);
	int has = result ? PQntuples(result) : -1;

	PQclear(result);
	return has;
}

/* The version in the database, 0 if none; -1 and err if it is unknown or newer than we are. */
static int present_version(PGconn *conn, struct error *err)
{
	int version = has_table(conn, "schema_version", err);
	PGresult *result;

	if (version <= 0)
		return version;
	result = pgsync_query(conn, "reading the schema version",
			      "SELECT max(version) AS version FROM outbox_relay.schema_version", 0,
			      NULL, err);
	if (!result)
		return -1;
	version = (int)pgsync_number(result, 0, "version");
	PQclear(result);
	if (version <= migrate_latest())
		return version;
	error_set(
	    err,
	    "the database has schema version %d, made by a newer outbox-relay; this one knows "
	    "%d: use the newer one",
	    version, migrate_latest());
	return -1;
}

/* What the relay's schema knows of the outbox: whether it does, and for how rows are settled if no
 * file says it. */
static bool read_known(PGconn *conn, struct request *request, struct error *err)
{
	int has = has_table(conn, "outboxes", err);

	return has > 0 ? adoption_read_known(conn, request, err) : has == 0;
}

/* Runs a script and frees it. NULL: err is set. */
static bool run_owned(PGconn *conn, const char *what, char *sql, struct error *err)
{
	bool good = sql && pgsync_script(conn, what, sql, err);

	free(sql);
	return good;
}

static bool run_files(PGconn *conn, const struct migrate_target *target, struct error *err)
{
	const struct sql_file *file;
	char what[128];

	for (file = sql_files; file->name; file++) {
		snprintf(what, sizeof(what), "applying %s", file->name);
		if (migrate_number(file->name) > 0 &&
		    !run_owned(conn, what, migrate_fill(file->text, target, err), err))
			return false;
	}
	return true;
}

static void report(const struct request *request, const struct adopt_table *table, int before)
{
	int partitions = request->target.partitions ? atoi(request->target.partitions)
						    : table->outbox.partitions;
	const struct sql_file *file;
	char name[PGNAME_FULL_SIZE];
	int number;

	for (file = sql_files; file->name; file++) {
		number = migrate_number(file->name);
		if (number > 0)
			fprintf(stderr, "%-8s %s\n", number > before ? "applied" : "again",
				file->name);
	}
	pgname_show(&request->target.outbox, name);
	fprintf(stderr, "%s is ready, settle = %s", name,
		config_settle_word(request->target.settle));
	if (partitions > 0)
		fprintf(stderr, ", %d partitions", partitions);
	fputc('\n', stderr);
}

/* What comes before the migrations. */
static bool prepare(PGconn *conn, const struct request *request, struct error *err)
{
	if (!run_owned(conn, "looking at rights", migrate_rights(&request->target, err), err))
		return false;
	return (!request->target.partitions && !request->target.partition_by) ||
	       run_owned(conn, "making the partitions", migrate_partitions(&request->target, err),
			 err);
}

/* All inside the transaction. */
static bool apply(PGconn *conn, const struct request *request, int *before, struct error *err)
{
	*before = present_version(conn, err);
	if (*before < 0)
		return false;
	return prepare(conn, request, err) && run_files(conn, &request->target, err) &&
	       pgsync_script(conn, "COMMIT", "COMMIT", err);
}

/* What to do about the commonest refusals of the database. */
static void hint(void)
{
	const char *state = pgsync_sqlstate();

	if (pgsync_lacked_lock())
		fputs("nothing has changed; end the transaction that holds the lock\n", stderr);
	if (strcmp(state, "42501") == 0)
		fputs("nothing has changed; give with --dsn the owner of the table\n", stderr);
}

/* No schema of others is searched, as in the migrations (sql/begin.sql). */
static void print_steps(const struct adopt_steps *steps)
{
	puts("-- First these steps, each of which is a transaction of its own, as the owner of the "
	     "table:\n-- psql -v ON_ERROR_STOP=1 -f FILE, without -1 unless the table is small. "
	     "After "
	     "an\n-- interruption run all of them again.\n\n"
	     "SELECT pg_catalog.set_config('outbox_relay.own_path', "
	     "pg_catalog.current_setting('search_path'), false);\n"
	     "SET search_path = pg_catalog, pg_temp;\n");
	for (size_t i = 0; i < steps->count; i++)
		printf("-- %zu: %s\n%s%s\n", i + 1, steps->items[i].what,
		       steps->items[i].waits ? "SET lock_timeout = '500ms';\n"
					     : "SET lock_timeout = 0;\n",
		       steps->items[i].sql);
	puts(
	    "RESET lock_timeout;\n"
	    "SELECT set_config('search_path', current_setting('outbox_relay.own_path'), false);\n");
}

/* The script for a tool: the steps first, each by itself. */
static int print_adoption(const struct request *request, const struct adopt_steps *steps,
			  const char *config, struct error *err)
{
	print_commented(config);
	if (steps->count > 0)
		print_steps(steps);
	return print_script(migrate_print(&request->target, NULL, err), err);
}

static int apply_plan(PGconn *conn, struct request *request, const struct adopt_table *table,
		      const struct adoption *adoption, const char *config, struct error *err)
{
	struct config_columns warned = request->columns;
	int before;

	if (!apply(conn, request, &before, err)) {
		int status = command_failed("migrate", err);

		hint();
		return status;
	}
	if (request->adopt) {
		warned.id = (char *)adoption->plan.columns[ADOPT_ID];
		warned.aggregate_id = (char *)adoption->plan.columns[ADOPT_AGGREGATE_ID];
		warned.published_at = (char *)request->target.published;
	}
	report(request, table, before);
	warnings_print(conn, &request->target.outbox, &warned, request->target.settle);
	fputs(config ? config : "", stdout);
	return EXIT_DONE;
}

/* EXIT_AGAIN after steps that are no part of the transaction: it is begun anew. */
enum { EXIT_AGAIN = -2, AGAIN_TRIES = 5 };

/* What the migrations would refuse is refused first. */
static int take_steps(PGconn *conn, const struct request *request, const struct adopt_table *table,
		      const struct adoption *adoption, struct error *err)
{
	int status;

	if (!adoption_judge(conn, request, table, err) ||
	    !run_owned(conn, "looking at rights", migrate_rights(&request->target, err), err))
		return command_failed("migrate", err);
	if (adopt_steps_run(conn, &adoption->steps, err))
		return EXIT_AGAIN;
	status = command_failed("migrate", err);
	fputs("nothing is published yet; run the same command again, it goes on where it was\n",
	      stderr);
	return status;
}

static int carry_out(PGconn *conn, struct request *request, struct adopt_table *table,
		     struct adoption *adoption, struct error *err)
{
	char *config = NULL;
	int status;

	if (request->adopt) {
		table->facts.waits_indexed |= request->known; /* the migrations have built one */
		adopt_steps_make(&table->facts, &adoption->plan, &adoption->published,
				 &adoption->steps);
		config = adopt_config(&table->facts, &adoption->plan, &adoption->published,
				      request->like, request->config);
		adopt_explain(table, &adoption->plan);
		if (request->config && (request->print || adoption->steps.count == 0))
			adopt_explain_lacking(table, &adoption->plan, &request->columns,
					      &adoption_standard);
		if (request->like && request->like->note)
			fprintf(stderr, "adopting %s: %s\n", request->like->title,
				request->like->note);
	}
	if (request->print)
		status = print_adoption(request, &adoption->steps, config, err);
	else if (adoption->steps.count > 0)
		status = take_steps(conn, request, table, adoption, err);
	else
		status = apply_plan(conn, request, table, adoption, config, err);
	free(config);
	return status;
}

static int apply_or_print(PGconn *conn, struct request *request, struct adopt_table *table,
			  struct error *err)
{
	struct adoption adoption = {.order = NULL};
	const struct migrate_target configured = request->target;
	int status;

	if (adoption_plan(conn, request, table, &adoption, err)) {
		adoption_take_over(request, &adoption);
		status = carry_out(conn, request, table, &adoption, err);
	} else {
		status = command_failed("migrate", err);
	}
	request->target = configured; /* the plan's names go with the plan */
	adoption_free(&adoption);
	return status;
}

/* Without looking at the database. */
static int print_unseen(const struct request *request)
{
	char *first = NULL;
	struct error err;
	int status;

	if (request->target.partitions || request->target.partition_by) {
		first = migrate_partitions(&request->target, &err);
		if (!first)
			return command_failed("migrate", &err);
	}
	status = print_script(migrate_print(&request->target, first, &err), &err);
	free(first);
	return status;
}

/* Nothing is asked of a schema of this name that is another's. */
static bool guard(PGconn *conn, const struct request *request, struct error *err)
{
	return run_owned(conn, "looking at schema outbox_relay",
			 migrate_guard(&request->target, err), err);
}

static int migrate_once(PGconn *conn, struct request *request)
{
	struct adopt_table table = {.facts = {.table = request->target.outbox},
				    .published_at = request->target.published,
				    .published_value = request->target.published_value};
	struct error err;
	int status;

	/* Another migration may be under way: whatever is read must be what it leaves. */
	if (pgsync_script(conn, "waiting for another migration to end",
			  "BEGIN READ WRITE; SELECT set_config('lock_timeout', '20s', true),"
			  " set_config('statement_timeout', '0', true),"
			  " set_config('client_min_messages', 'warning', true);"
			  " SELECT pg_advisory_xact_lock(" MIGRATE_LOCK "),"
			  " set_config('lock_timeout', '2s', true)",
			  &err) &&
	    guard(conn, request, &err) && adopt_table_read(conn, &table, &err) &&
	    read_known(conn, request, &err))
		status = apply_or_print(conn, request, &table, &err);
	else
		status = command_failed("migrate", &err);
	adopt_table_free(&table);
	return status;
}

/* Whoever writes to a table waits behind a migration that waits for its lock. So it waits often and
 * not long, and the writers have their turn in between. */
static int with_connection(struct request *request)
{
	struct pg_login login = command_login(request->config, request->dsn);
	struct error err;
	PGconn *conn = pgsync_connect(&login, "outbox-relay migrate", &err);
	int status = conn ? EXIT_DONE : command_failed("migrate", &err);

	pgsync_be_patient();
	for (int tries = 0; conn && tries < LOCK_TRIES; tries++) {
		status = migrate_once(conn, request);
		/* What one run's steps have made may show what else is to be done. */
		for (int again = 0; status == EXIT_AGAIN && again < AGAIN_TRIES; again++)
			status = migrate_once(conn, request);
		if (status == EXIT_AGAIN) {
			error_set(&err, "some steps are left; run the same command again");
			status = command_failed("migrate", &err);
		}
		if (status == EXIT_DONE || !pgsync_lacked_lock() ||
		    !pgsync_script(conn, "ROLLBACK", "ROLLBACK", &err))
			break;
		if (tries + 1 < LOCK_TRIES)
			waiting_pause(1000);
	}
	PQfinish(conn);
	return status;
}

int cmd_migrate(int argc, char **argv)
{
	struct request request = {.path = NULL};
	struct error err;
	int status = parse_options(argc, argv, &request);

	if (status < 0)
		status = judge(&request);
	if (status < 0)
		status = complete(&request);
	if (status >= 0)
		return status;
	if (request.uninstall)
		status = print_script(migrate_print_uninstall(&request.target, &err), &err);
	else if (request.print && !request.adopt)
		status = print_unseen(&request);
	else
		status = with_connection(&request);
	adoption_forget_known(&request);
	config_free(&request.config);
	return status;
}

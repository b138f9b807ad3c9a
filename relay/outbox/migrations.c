/* SPDX-License-Identifier: ISC */
/*
 * migrations.c - the scripts of sql/ with the names of one outbox filled in
 */
#include "outbox/migrations.h"

#include "base/xalloc.h"
#include "config.h"
#include "outbox/sql_files.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct text {
	char *data; /* owned, terminated */
	size_t len;
};

static void append(struct text *out, const char *data, size_t len)
{
	out->data = xrealloc(out->data, out->len + len + 1);
	memcpy(out->data + out->len, data, len);
	out->len += len;
	out->data[out->len] = '\0';
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

/* The end of what starts at p and runs to the given terminator, which belongs to it. */
static size_t span_to(const char *p, size_t skip, const char *terminator)
{
	const char *end = strstr(p + skip, terminator);

	return end ? (size_t)(end - p) + strlen(terminator) : strlen(p);
}

/* The length of a dollar-quoted string at p, or 0 if none starts there. */
static size_t span_dollar(const char *p)
{
	char tag[PGNAME_SIZE];
	size_t len = 1;

	while (is_word(p[len]))
		len++;
	if (p[len] != '$' || isdigit((unsigned char)p[1]) || ++len >= sizeof(tag))
		return 0;
	memcpy(tag, p, len);
	tag[len] = '\0';
	return span_to(p, len, tag);
}

/* How much of the text at p is to be copied as it stands. */
static size_t span_verbatim(const char *start, const char *p)
{
	size_t len = 0;

	if (*p == '\'')
		len = span_to(p, 1, "'");
	else if (*p == '"')
		len = span_to(p, 1, "\"");
	else if (p[0] == '-' && p[1] == '-')
		len = span_to(p, 2, "\n");
	else if (p[0] == '/' && p[1] == '*')
		len = span_to(p, 2, "*/");
	else if (*p == '$' && (p == start || !is_word(p[-1])))
		len = span_dollar(p);
	else if (p[0] == ':' && p[1] == ':')
		len = 2;
	return len ? len : 1;
}

static const char *value_of(const char *name, size_t len, const struct migrate_target *target)
{
	const struct {
		const char *name, *value;
	} variables[] = {
	    {"outbox_schema", target->outbox.schema},
	    {"outbox_table", target->outbox.table},
	    {"outbox_id", target->id},
	    {"outbox_event_id", target->event_id},
	    {"outbox_published", target->published},
	    {"outbox_published_value", target->published_value},
	    {"outbox_pending_value", target->pending_value},
	    {"outbox_where", target->where},
	    {"relay_role", target->role ? target->role : ""},
	    {"settle", config_settle_word(target->settle)},
	    {"partitions", target->partitions ? target->partitions : "0"},
	    {"partition_by", target->partition_by ? target->partition_by : ""},
	};
	size_t i;

	for (i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		if (strlen(variables[i].name) == len && memcmp(variables[i].name, name, len) == 0)
			return variables[i].value;
	}
	return NULL;
}

/* The length of a variable at p, with its colon and quotes, or 0. */
static size_t span_variable(const char *p)
{
	size_t len = 2;

	if (p[0] != ':' || (p[1] != '"' && p[1] != '\''))
		return 0;
	while (is_word(p[len]))
		len++;
	return len > 2 && p[len] == p[1] ? len + 1 : 0;
}

static bool append_variable(struct text *out, const char *p, size_t len,
			    const struct migrate_target *target, struct error *err)
{
	const char *value = value_of(p + 2, len - 3, target);
	char quoted[PGNAME_QUOTED_SIZE];
	char *literal;

	if (!value)
		return error_set(err, "the script uses %.*s, which is no variable of ours",
				 (int)len, p);
	if (p[1] == '"') {
		pgname_quote(value, quoted);
		append(out, quoted, strlen(quoted));
		return true;
	}
	literal = pgname_literal(value);
	append(out, literal, strlen(literal));
	free(literal);
	return true;
}

char *migrate_fill(const char *text, const struct migrate_target *target, struct error *err)
{
	struct text out = {NULL, 0};
	const char *p = text;
	size_t len;

	append(&out, "", 0);
	while (*p) {
		len = span_variable(p);
		if (len == 0) {
			len = span_verbatim(text, p);
			append(&out, p, len);
		} else if (!append_variable(&out, p, len, target, err)) {
			free(out.data);
			return NULL;
		}
		p += len;
	}
	return out.data;
}

int migrate_number(const char *name)
{
	return isdigit((unsigned char)*name) ? atoi(name) : 0;
}

int migrate_latest(void)
{
	const struct sql_file *file;
	int latest = 0;

	for (file = sql_files; file->name; file++) {
		if (migrate_number(file->name) > latest)
			latest = migrate_number(file->name);
	}
	return latest;
}

bool migrate_is_new_enough(int version, struct error *err)
{
	return version >= migrate_latest() ||
	       error_set(err,
			 "schema outbox_relay has version %d, this relay needs %d; run "
			 "outbox-relay migrate",
			 version, migrate_latest());
}

static void append_string(struct text *out, const char *text)
{
	append(out, text, strlen(text));
}

static char *fill_named(const char *name, const struct migrate_target *target, struct error *err)
{
	const struct sql_file *file;

	for (file = sql_files; file->name; file++) {
		if (strcmp(file->name, name) == 0)
			return migrate_fill(file->text, target, err);
	}
	error_set(err, "this binary holds no %s; it was built without it", name);
	return NULL;
}

static bool append_file(struct text *out, const char *name, const struct migrate_target *target,
			struct error *err)
{
	char *filled = fill_named(name, target, err);

	if (!filled)
		return false;
	append_string(out, filled);
	append_string(out, "\n");
	free(filled);
	return true;
}

char *migrate_guard(const struct migrate_target *target, struct error *err)
{
	return fill_named("guard.sql", target, err);
}

char *migrate_rights(const struct migrate_target *target, struct error *err)
{
	return fill_named("rights.sql", target, err);
}

static bool append_migrations(struct text *out, const struct migrate_target *target,
			      struct error *err)
{
	const struct sql_file *file;

	for (file = sql_files; file->name; file++) {
		if (migrate_number(file->name) > 0 && !append_file(out, file->name, target, err))
			return false;
	}
	return true;
}

/* The text, or NULL and no text if it is not whole. */
static char *whole(struct text *out, bool good)
{
	if (good)
		return out->data;
	free(out->data);
	return NULL;
}

char *migrate_print(const struct migrate_target *target, const char *before, struct error *err)
{
	struct text out = {NULL, 0};
	bool good;

	/* No BEGIN and COMMIT: many tools bring their own, and each statement may be run again. */
	append_string(&out, "-- The migrations of outbox-relay " OUTBOX_RELAY_VERSION
			    " as one script. Run it in one transaction, as the\n"
			    "-- owner of the outbox table: psql -1 -v ON_ERROR_STOP=1 -f FILE, or "
			    "by your own tool.\n\n");
	good = append_file(&out, "begin.sql", target, err);
	append_string(&out, "SELECT set_config('lock_timeout', '10s', true);\n\n");
	good = good && append_file(&out, "guard.sql", target, err) &&
	       append_file(&out, "rights.sql", target, err);
	if (before) {
		append_string(&out, before);
		append_string(&out, "\n");
	}
	good = good && append_migrations(&out, target, err) &&
	       append_file(&out, "end.sql", target, err);
	return whole(&out, good);
}

char *migrate_partitions(const struct migrate_target *target, struct error *err)
{
	return fill_named(target->partition_by ? "ranges.sql" : "partitions.sql", target, err);
}

char *migrate_print_uninstall(const struct migrate_target *target, struct error *err)
{
	struct text out = {NULL, 0};
	bool good = append_file(&out, "begin.sql", target, err) &&
		    append_file(&out, "uninstall.sql", target, err) &&
		    append_file(&out, "end.sql", target, err);

	return whole(&out, good);
}

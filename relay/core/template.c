/* SPDX-License-Identifier: ISC */
/*
 * template.c - text with ${field} in it, compiled once and rendered per event
 */
#include "core/template.h"

#include "base/pgname.h"
#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Literal text, or a field. */
struct part {
	struct slice text; /* field < 0; borrowed from literals */
	char *name;	   /* field >= 0; owned, for messages */
	int field;	   /* -1: literal */
};

struct template
{
	struct part *parts; /* owned */
	size_t count;
	size_t field_count;
	char *literals; /* owned: all literal text, unescaped, one after the other, terminated */
	size_t literals_len;
};

/* ---- compiling ---- */

static struct part *append(struct template *tpl)
{
	tpl->parts = xrealloc(tpl->parts, (tpl->count + 1) * sizeof(*tpl->parts));
	tpl->parts[tpl->count] = (struct part){.field = -1};
	return &tpl->parts[tpl->count++];
}

/* literals was made long enough for the whole text, so no slice into it ever moves. */
static void append_literal(struct template *tpl, char byte)
{
	bool goes_on = tpl->count > 0 && tpl->parts[tpl->count - 1].field < 0;
	struct part *part = goes_on ? &tpl->parts[tpl->count - 1] : append(tpl);

	if (!goes_on)
		part->text.data = tpl->literals + tpl->literals_len;
	tpl->literals[tpl->literals_len++] = byte;
	part->text.len++;
}

/* Appends the field whose "${" is at text; what follows its "}", or NULL and err. */
static const char *append_field(struct template *tpl, const char *text, route_field_fn field,
				void *arg, struct error *err)
{
	const char *begin = text + 2;
	size_t len = strcspn(begin, "{}");
	struct part *part;

	if (begin[len] != '}') {
		error_set(err, "a \"${\" has no \"}\"; write ${field}");
		return NULL;
	}
	if (len == 0) {
		error_set(err, "\"${}\" names no field; write ${field}");
		return NULL;
	}
	if (len >= PGNAME_SIZE) {
		error_set(
		    err,
		    "field \"%.*s\" has a name of %zu bytes; no column's name has more than %d",
		    (int)len, begin, len, PGNAME_SIZE - 1);
		return NULL;
	}
	part = append(tpl);
	part->name = xasprintf("%.*s", (int)len, begin);
	part->field = field(part->name, arg);
	if (part->field < 0) {
		error_set(
		    err,
		    "there is no field \"%s\"; name a column by its part or its name, but not "
		    "payload, headers, or a part that the table has no column for",
		    part->name);
		return NULL;
	}
	tpl->field_count++;
	return begin + len + 1;
}

static bool compile(struct template *tpl, const char *text, route_field_fn field, void *arg,
		    struct error *err)
{
	while (*text != '\0') {
		if (*text != '$') {
			append_literal(tpl, *text++);
		} else if (text[1] == '$') {
			append_literal(tpl, '$');
			text += 2;
		} else if (text[1] == '{') {
			text = append_field(tpl, text, field, arg, err);
			if (text == NULL)
				return false;
		} else {
			return error_set(err, "a \"$\" stands alone; write ${field}, or \"$$\" for "
					      "a dollar sign");
		}
	}
	return true;
}

struct template *template_new(const char *text, route_field_fn field, void *arg, struct error *err)
{
	struct template *tpl = xcalloc(1, sizeof(*tpl));

	tpl->literals = xcalloc(strlen(text) + 1, 1);
	if (!compile(tpl, text, field, arg, err))
		template_free(&tpl);
	return tpl;
}

void template_free(struct template **tpl)
{
	if (*tpl == NULL)
		return;
	for (size_t i = 0; i < (*tpl)->count; i++)
		free((*tpl)->parts[i].name);
	free((*tpl)->parts);
	free((*tpl)->literals);
	free(*tpl);
	*tpl = NULL;
}

/* ---- rendering ---- */

bool template_is_constant(const struct template *tpl)
{
	return tpl->field_count == 0;
}

bool template_borrow(const struct template *tpl, const struct slice *fields, struct slice *bytes)
{
	if (tpl->field_count == 0)
		*bytes = (struct slice){tpl->literals, tpl->literals_len};
	else if (tpl->field_count == 1 && tpl->count == 1)
		*bytes = fields[tpl->parts[0].field];
	else
		return false;
	return true;
}

int template_field(const struct template *tpl)
{
	return tpl->field_count == 1 && tpl->count == 1 ? tpl->parts[0].field : -1;
}

bool template_measure(const struct template *tpl, const struct slice *fields, size_t *length,
		      const char **null_field)
{
	*length = tpl->literals_len;
	for (size_t i = 0; i < tpl->count; i++) {
		const struct part *part = &tpl->parts[i];

		if (part->field < 0)
			continue;
		if (fields[part->field].data == NULL) {
			*null_field = part->name;
			return false;
		}
		*length += fields[part->field].len;
	}
	return true;
}

char *template_write(const struct template *tpl, const struct slice *fields, char *out)
{
	for (size_t i = 0; i < tpl->count; i++) {
		const struct part *part = &tpl->parts[i];
		struct slice bytes = part->field < 0 ? part->text : fields[part->field];

		assert(bytes.data != NULL);
		memcpy(out, bytes.data, bytes.len);
		out += bytes.len;
	}
	return out;
}

void template_walk(const struct template *tpl, void (*literal)(struct slice text, void *arg),
		   void (*field)(int index, void *arg), void *arg)
{
	for (size_t i = 0; i < tpl->count; i++)
		if (tpl->parts[i].field < 0)
			literal(tpl->parts[i].text, arg);
		else
			field(tpl->parts[i].field, arg);
}

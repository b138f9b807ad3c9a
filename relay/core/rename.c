/* SPDX-License-Identifier: ISC */
/*
 * rename.c - a name by a regular expression and a replacement, as RegexRouter of Kafka Connect does
 *
 * java.util.regex.Matcher: matches() wants all of the text; replaceFirst() looks for the first
 * match anew, which need not be all of it, as with "a|ab" in "ab".
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/rename.h"

#include "base/xalloc.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>

/* Of one name: what is more is no pattern for topics. */
enum { STEPS_MOST = 1000 * 1000, DEPTH_MOST = 10 * 1000, HEAP_KIB_MOST = 1024 };

/* Text, or a group. */
struct piece {
	char *text; /* owned */
	size_t len;
	int group; /* -1: text */
};

struct rename {
	pcre2_code *code;
	pcre2_match_data *found;
	pcre2_match_context *limits;
	struct piece *pieces; /* owned */
	size_t count;
};

/* ---- the pattern ---- */

/* Within [...] Java knows unions and intersections of classes, where PCRE2 reads characters. */
static const char *two_readings(const char *regex)
{
	bool in_class = false;

	for (const char *at = regex; *at != '\0'; at++) {
		if (*at == '\\' && at[1] != '\0')
			at++;
		else if (!in_class && *at == '[')
			in_class = true, at += at[1] == '^', at += at[1] == ']';
		else if (in_class && *at == ']')
			in_class = false;
		else if (in_class && (*at == '[' || strncmp(at, "&&", 2) == 0))
			return at;
	}
	return NULL;
}

static bool compile(struct rename *rename, const char *regex, struct error *err)
{
	PCRE2_UCHAR words[160];
	PCRE2_SIZE at;
	int code;
	const char *doubtful = two_readings(regex);

	if (doubtful != NULL)
		return error_set(err,
				 "route.topic_regex \"%s\" has \"%.2s\" within a class, which Java "
				 "and PCRE2 read in two ways; write it without",
				 regex, doubtful);
	rename->code =
	    pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, NULL);
	if (rename->code == NULL) {
		pcre2_get_error_message(code, words, sizeof(words));
		return error_set(err, "route.topic_regex \"%s\" is wrong at byte %zu: %s", regex,
				 (size_t)at, (char *)words);
	}
	rename->found = pcre2_match_data_create_from_pattern(rename->code, NULL);
	rename->limits = pcre2_match_context_create(NULL);
	if (rename->found == NULL || rename->limits == NULL)
		abort(); /* out of memory, as in xalloc.h */
	pcre2_set_match_limit(rename->limits, STEPS_MOST);
	pcre2_set_depth_limit(rename->limits, DEPTH_MOST);
	pcre2_set_heap_limit(rename->limits, HEAP_KIB_MOST);
	return true;
}

/* ---- the replacement: Matcher.appendReplacement ---- */

static struct piece *append(struct rename *rename, int group)
{
	rename->pieces = xrealloc(rename->pieces, (rename->count + 1) * sizeof(*rename->pieces));
	rename->pieces[rename->count] = (struct piece){.group = group};
	return &rename->pieces[rename->count++];
}

static void append_byte(struct rename *rename, char byte)
{
	struct piece *piece = rename->count > 0 ? &rename->pieces[rename->count - 1] : NULL;

	if (piece == NULL || piece->group >= 0)
		piece = append(rename, -1);
	piece->text = xrealloc(piece->text, piece->len + 1);
	piece->text[piece->len++] = byte;
}

static bool bad_group(struct error *err, const char *replacement, const char *group, size_t len)
{
	return error_set(err,
			 "route.topic_replacement \"%s\" names the group \"%.*s\", which "
			 "route.topic_regex does not have",
			 replacement, (int)len, group);
}

/* The group whose name *at stands before; behind its "}" then. */
static bool named_group(struct rename *rename, const char *replacement, const char **at,
			struct error *err)
{
	size_t len = strcspn(*at, "}");
	char *name;
	int group;

	if ((*at)[len] != '}')
		return error_set(err,
				 "route.topic_replacement \"%s\" has a \"${\" without \"}\"; write "
				 "${name}",
				 replacement);
	name = xasprintf("%.*s", (int)len, *at);
	group = len > 0 ? pcre2_substring_number_from_name(rename->code, (PCRE2_SPTR)name) : -1;
	free(name);
	if (group <= 0)
		return bad_group(err, replacement, *at, len);
	append(rename, group);
	*at += len + 1;
	return true;
}

/* The first digit counts in any case, others as long as there is such a group. */
static bool numbered_group(struct rename *rename, const char *replacement, const char **at,
			   struct error *err)
{
	uint32_t groups = 0, group = (uint32_t)(**at - '0');
	const char *begin = (*at)++;

	pcre2_pattern_info(rename->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	if (group > groups)
		return bad_group(err, replacement, begin, 1);
	while (isdigit((unsigned char)**at) && group * 10 + (uint32_t)(**at - '0') <= groups)
		group = group * 10 + (uint32_t)(*(*at)++ - '0');
	append(rename, (int)group);
	return true;
}

static bool compile_replacement(struct rename *rename, const char *replacement, struct error *err)
{
	const char *at = replacement;

	while (*at != '\0') {
		char byte = *at++;

		if (byte == '\\' && *at != '\0') {
			append_byte(rename, *at++);
		} else if (byte != '\\' && byte != '$') {
			append_byte(rename, byte);
		} else if (byte == '$' && *at == '{') {
			at++;
			if (!named_group(rename, replacement, &at, err))
				return false;
		} else if (byte == '$' && isdigit((unsigned char)*at)) {
			if (!numbered_group(rename, replacement, &at, err))
				return false;
		} else {
			return error_set(err,
					 "route.topic_replacement \"%s\" has a lone \"%c\"; write "
					 "$1 or ${name}, or \"\\%c\" for the character",
					 replacement, byte, byte);
		}
	}
	return true;
}

struct rename *rename_new(const char *regex, const char *replacement, struct error *err)
{
	struct rename *rename = xcalloc(1, sizeof(*rename));

	if (!compile(rename, regex, err) || !compile_replacement(rename, replacement, err))
		rename_free(&rename);
	return rename;
}

void rename_free(struct rename **rename)
{
	struct rename *own = *rename;

	if (own == NULL)
		return;
	for (size_t i = 0; i < own->count; i++)
		free(own->pieces[i].text);
	free(own->pieces);
	pcre2_match_context_free(own->limits);
	pcre2_match_data_free(own->found);
	pcre2_code_free(own->code);
	free(own);
	*rename = NULL;
}

/* ---- a name ---- */

struct writing {
	char *out;
	size_t len, size;
};

static bool put(struct writing *w, const char *bytes, size_t len)
{
	if (len > w->size - w->len)
		return false;
	if (len > 0)
		memcpy(w->out + w->len, bytes, len);
	w->len += len;
	return true;
}

/* A group that has taken no part is empty. */
static bool put_group(struct writing *w, const struct rename *rename, struct slice name, int group)
{
	const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(rename->found);
	PCRE2_SIZE from = ends[2 * group], to = ends[2 * group + 1];

	return from == PCRE2_UNSET || from > to || put(w, name.data + from, to - from);
}

static bool write_name(struct writing *w, const struct rename *rename, struct slice name)
{
	const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(rename->found);
	bool fits = put(w, name.data, ends[0]);

	for (size_t i = 0; fits && i < rename->count; i++) {
		const struct piece *piece = &rename->pieces[i];

		fits = piece->group < 0 ? put(w, piece->text, piece->len)
					: put_group(w, rename, name, piece->group);
	}
	return fits && put(w, name.data + ends[1], name.len - ends[1]);
}

static int match(const struct rename *rename, struct slice name, uint32_t options)
{
	return pcre2_match(rename->code, (PCRE2_SPTR)name.data, name.len, 0, options, rename->found,
			   rename->limits);
}

enum renamed rename_apply(struct rename *rename, struct slice name, char *out, size_t size,
			  size_t *len)
{
	struct writing w = {out, 0, size};
	int code = match(rename, name, PCRE2_ANCHORED | PCRE2_ENDANCHORED);

	if (code == PCRE2_ERROR_NOMATCH)
		return RENAME_KEPT;
	if (code > 0)
		code = match(rename, name, 0);
	if (code <= 0)
		return RENAME_GAVE_UP;
	if (!write_name(&w, rename, name))
		return RENAME_TOO_LONG;
	*len = w.len;
	return RENAMED;
}

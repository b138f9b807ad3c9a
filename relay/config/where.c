/* SPDX-License-Identifier: ISC */
/*
 * where.c - what can be said of outbox.where without a server: what must not stand in it, and which
 * functions it names
 *
 * PostgreSQL judges the rest (outbox/sql_where.c). What is refused here it would take for something
 * else than one condition, or for another one at another time.
 */
#include "base/xalloc.h"
#include "table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind { END, NAME, OPENING, CLOSING, TEXT, SIGN };

struct lexer {
	const char *at;
	enum kind kind;
	const char *start; /* of the token */
	size_t len;
	bool quoted;	   /* a name in double quotes */
	const char *wrong; /* why there is no next token; NULL: there is */
};

/* Words that have another value each time, or for each role, and that are no function calls. */
static const char *const changing[] = {"current_catalog",
				       "current_date",
				       "current_role",
				       "current_schema",
				       "current_time",
				       "current_user",
				       "localtime",
				       "session_user",
				       "localtimestamp",
				       "system_user",
				       "user",
				       "current_timestamp",
				       NULL};

/* A time that is read when the statement is made. */
static const char *const moments[] = {"now", "today", "tomorrow", "yesterday", NULL};

static bool is_one_of(const char *const *list, const char *text, size_t len)
{
	for (; *list; list++)
		if (strlen(*list) == len && strncasecmp(*list, text, len) == 0)
			return true;
	return false;
}

static bool begins_name(char c)
{
	return isalpha((unsigned char)c) || c == '_' || (c & 0x80) != 0;
}

static bool is_in_name(char c)
{
	return begins_name(c) || isdigit((unsigned char)c) || c == '$';
}

static const char *after(struct lexer *lexer, const char *found, size_t len, const char *wrong)
{
	if (found == NULL)
		lexer->wrong = wrong;
	return found != NULL ? found + len : lexer->at + strlen(lexer->at);
}

/* Comments nest (manual: "Comments"). */
static const char *skip_comment(struct lexer *lexer)
{
	const char *p = lexer->at;
	int depth = 0;

	do {
		if (p[0] == '/' && p[1] == '*') {
			depth++;
			p++;
		} else if (p[0] == '*' && p[1] == '/') {
			depth--;
			p++;
		} else if (*p == '\0') {
			return after(lexer, NULL, 0, "a comment does not end");
		}
		p++;
	} while (depth > 0);
	return p;
}

static void skip_blanks(struct lexer *lexer)
{
	for (;;) {
		if (isspace((unsigned char)*lexer->at))
			lexer->at++;
		else if (lexer->at[0] == '-' && lexer->at[1] == '-')
			lexer->at += strcspn(lexer->at, "\n");
		else if (lexer->at[0] == '/' && lexer->at[1] == '*')
			lexer->at = skip_comment(lexer);
		else
			return;
	}
}

/* Behind the quote that ends it; a doubled one does not. A backslash takes the next one along in
 * E'...' only. */
static const char *end_of_quoted(struct lexer *lexer, const char *p, char quote, bool escapes)
{
	for (p++; *p != '\0'; p++) {
		bool doubled = *p == quote && p[1] == quote;

		if (doubled || (escapes && *p == '\\' && p[1] != '\0'))
			p++;
		else if (*p == quote)
			return p + 1;
	}
	return after(lexer, NULL, 0, "a quote does not end");
}

/* $tag$...$tag$, or a parameter. */
static const char *end_of_dollars(struct lexer *lexer)
{
	char tag[64];
	size_t len = 1;

	while (is_in_name(lexer->at[len]) && lexer->at[len] != '$')
		len++;
	if (isdigit((unsigned char)lexer->at[1]) || lexer->at[len] != '$' ||
	    len + 2 > sizeof(tag)) {
		lexer->wrong = "it has a $ that begins no text; there are no parameters";
		return lexer->at + 1;
	}
	memcpy(tag, lexer->at, ++len);
	tag[len] = '\0';
	return after(lexer, strstr(lexer->at + len, tag), len, "a text in dollars does not end");
}

static const char *end_of_name(const char *p)
{
	while (is_in_name(*p))
		p++;
	return p;
}

static const char *end_of_token(struct lexer *lexer)
{
	const char *p = lexer->at;
	bool escapes = (*p == 'e' || *p == 'E') && p[1] == '\'';

	lexer->kind = SIGN;
	if (*p == '\'' || escapes) {
		lexer->kind = TEXT;
		return end_of_quoted(lexer, p + escapes, '\'', escapes);
	}
	if (*p == '"') {
		lexer->kind = NAME;
		lexer->quoted = true;
		return end_of_quoted(lexer, p, '"', false);
	}
	if (begins_name(*p)) {
		lexer->kind = NAME;
		return end_of_name(p);
	}
	if (*p == '$') {
		lexer->kind = TEXT;
		return end_of_dollars(lexer);
	}
	if (isdigit((unsigned char)*p))
		return end_of_name(p);
	lexer->kind = *p == '(' ? OPENING : *p == ')' ? CLOSING : SIGN;
	return p + 1;
}

static bool next(struct lexer *lexer)
{
	skip_blanks(lexer);
	lexer->start = lexer->at;
	lexer->quoted = false;
	if (lexer->wrong == NULL && *lexer->at != '\0')
		lexer->at = end_of_token(lexer);
	else
		lexer->kind = END;
	lexer->len = (size_t)(lexer->at - lexer->start);
	return lexer->wrong == NULL && lexer->kind != END;
}

static const char *judge_token(const struct lexer *lexer)
{
	const char *text = lexer->start;

	if (lexer->kind == SIGN && *text == ';')
		return "it has a semicolon; one condition is wanted";
	if (lexer->kind == NAME && !lexer->quoted && is_one_of(changing, text, lexer->len))
		return "it names a value that changes by itself; whether a row is an event must "
		       "hang on the row only";
	if (lexer->kind == TEXT && lexer->len > 2 && *text == '\'' &&
	    is_one_of(moments, text + 1, lexer->len - 2))
		return "it names a moment that is read anew by each session; write the time itself";
	return NULL;
}

/* Why the text can be no condition; NULL: nothing of it is seen here. */
static const char *judge(const char *text)
{
	struct lexer lexer = {.at = text};
	const char *wrong = NULL;
	size_t tokens = 0;
	int depth = 0;

	while (wrong == NULL && next(&lexer)) {
		tokens++;
		depth += lexer.kind == OPENING ? 1 : lexer.kind == CLOSING ? -1 : 0;
		wrong = depth < 0 ? "it closes a parenthesis that it has not opened"
				  : judge_token(&lexer);
	}
	if (wrong != NULL || lexer.wrong != NULL)
		return wrong != NULL ? wrong : lexer.wrong;
	if (depth > 0)
		return "it does not close a parenthesis";
	return tokens == 0 ? "there is nothing but blanks and comments in it" : NULL;
}

bool config_check_where(const char *text, struct error *err)
{
	return *text == '\0' || config_where_check(text, err);
}

bool config_where_check(const char *text, struct error *err)
{
	const char *wrong = judge(text);

	return wrong == NULL || error_set(err, "\"%s\" is no condition: %s", text, wrong);
}

/* As the catalog has it. */
static void append_name(char **list, const struct lexer *lexer)
{
	size_t from = lexer->quoted ? 1 : 0;

	xappend(list, "%s", **list != '\0' ? "\x1f" : "");
	for (size_t i = from; i < lexer->len - from; i++) {
		char c = lexer->start[i];

		xappend(list, "%c", lexer->quoted ? c : tolower((unsigned char)c));
		if (c == '"')
			i++;
	}
}

char *config_where_functions(const char *text)
{
	struct lexer lexer = {.at = text}, name = {.kind = END};
	char *list = xstrdup("");

	while (next(&lexer)) {
		if (lexer.kind == OPENING && name.kind == NAME)
			append_name(&list, &name);
		name = lexer;
	}
	return list;
}

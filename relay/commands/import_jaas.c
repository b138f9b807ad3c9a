/* SPDX-License-Identifier: ISC */
/*
 * import_jaas.c - the login that sasl.jaas.config describes (JaasConfig of Kafka's clients, which
 * reads it with a StreamTokenizer)
 */
#include "import_jaas.h"

#include "base/secret_text.h"
#include "base/xalloc.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

/* The text in quotes that begins at *at, of which a backslash takes the next character as it is;
 * malloc'd, or NULL if it does not end. */
static char *read_quoted(const char **at)
{
	const char quote = *(*at)++;
	char *text = xmalloc(strlen(*at) + 1), *out = text;

	while (**at != '\0' && **at != quote) {
		*at += **at == '\\' && (*at)[1] != '\0';
		*out++ = *(*at)++;
	}
	*out = '\0';
	if (**at == '\0') {
		secret_wipe(&text);
		return NULL;
	}
	++*at;
	return text;
}

/* A word, or what stands in quotes; malloc'd, or NULL if there is neither. */
static char *read_word(const char **at)
{
	char *word;
	size_t len;

	*at = skip_blanks(*at);
	if (**at == '"' || **at == '\'')
		return read_quoted(at);
	len = strcspn(*at, " \t\r\n=;\"'");
	if (len == 0)
		return NULL;
	word = xasprintf("%.*s", (int)len, *at);
	*at += len;
	return word;
}

/* Takes the value over. */
static void keep(struct jaas *jaas, const char *name, char *value)
{
	char **to = strcmp(name, "username") == 0    ? &jaas->username
		    : strcmp(name, "password") == 0  ? &jaas->password
		    : strcmp(name, "keyTab") == 0    ? &jaas->keytab
		    : strcmp(name, "principal") == 0 ? &jaas->principal
						     : NULL;

	if (to == NULL) {
		secret_wipe(&value);
		return;
	}
	secret_wipe(to);
	*to = value;
}

/* name=value; false at the end, or where there is something else. */
static bool read_option(struct jaas *jaas, const char **at)
{
	char *name = read_word(at), *value = NULL;

	*at = skip_blanks(*at);
	if (name != NULL && **at == '=') {
		++*at;
		value = read_word(at);
	}
	if (value != NULL)
		keep(jaas, name, value);
	free(name);
	return value != NULL;
}

static char *without_package(char *class)
{
	const char *dot = strrchr(class, '.');
	char *name = dot != NULL ? xstrdup(dot + 1) : xstrdup(class);

	free(class);
	return name;
}

bool jaas_read(const char *text, struct jaas *jaas)
{
	char *class = read_word(&text), *flag = class != NULL ? read_word(&text) : NULL;

	*jaas = (struct jaas){.module = NULL};
	if (flag == NULL) {
		free(class);
		return false;
	}
	free(flag);
	jaas->module = without_package(class);
	while (read_option(jaas, &text))
		;
	return *skip_blanks(text) == ';';
}

void jaas_free(struct jaas *jaas)
{
	free(jaas->module);
	jaas->module = NULL;
	secret_wipe(&jaas->username);
	secret_wipe(&jaas->password);
	secret_wipe(&jaas->keytab);
	secret_wipe(&jaas->principal);
}
